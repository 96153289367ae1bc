"""What users may import: every type that a public signature names, with types that mypy checks in their own files."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import typing
from pathlib import Path

import numpy.typing
import pandas
import pytest

import energydiag

USERS = """
import torch

import energydiag
from energydiag import Batch, Diagnosis, EnergyFunction, Measurement, ModelOptions


def checked(head: torch.nn.Module, dump: str) -> Diagnosis:
    batch: Batch = energydiag.load_batch(dump)
    energy: EnergyFunction = energydiag.load_checkpoint("head.pt", batch=batch)
    energies: torch.Tensor = energydiag.pairwise_energies(energy, batch.hidden, batch.actions)
    options = ModelOptions(head="original", nhead=2)
    swept = energydiag.inspect_many(["a.pt", "b.pt"], dump, options, workers=0)
    first: Measurement = energydiag.inspect(energy, batch, seed=int(energies.sum())).measurements[0]
    reveal_type(first.value)
    verdicts: list[str] = [row.diagnosis.verdict for row in swept.rows if row.diagnosis is not None]
    return energydiag.inspect_checkpoint("head.pt", verdicts[0], options)
"""


@pytest.mark.slow
def test_a_users_file_is_checked(tmp_path: Path) -> None:
    (tmp_path / "users.py").write_text(USERS)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "users.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert 'Revealed type is "float"' in done.stdout.replace("builtins.", ""), done.stdout
    assert "Success: no issues found" in done.stdout, done.stdout
    (tmp_path / "users.py").write_text(USERS.replace('"head.pt", verdicts[0]', "head, verdicts[0]"))
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "incompatible type" in done.stdout


def test_every_type_of_a_public_signature_is_public() -> None:
    public = {getattr(energydiag, name) for name in energydiag.__all__}
    names = {"pandas": pandas, "NDArray": numpy.typing.NDArray, "np": numpy}
    for one in public:
        functions = [one] if inspect.isfunction(one) else []
        if inspect.isclass(one):
            functions = [
                method
                for name, method in vars(one).items()
                if inspect.isfunction(method) and (name == "__init__" or not name.startswith("_"))
            ]
        for function in functions:
            homes = [sys.modules[kind.__module__] for kind in getattr(one, "__mro__", ())] + [
                inspect.getmodule(function)
            ]
            scope = {name: value for home in homes for name, value in vars(home).items()} | names
            for hint in typing.get_type_hints(function, scope).values():
                assert _of_ours(hint) <= public, function


def _of_ours(hint: object) -> set[object]:
    inner = set().union(*map(_of_ours, typing.get_args(hint)))
    return inner | ({hint} if inspect.isclass(hint) and hint.__module__.startswith("energydiag") else set())


def test_types_are_declared_as_they_are_found() -> None:
    for module in (energydiag, energydiag.pipeline):  # type: ignore[attr-defined]
        tree = ast.parse(Path(module.__file__).read_text())
        imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.names[0].asname)
        declared = {node.names[0].name: node.module for node in imports if node.names[0].name != "dump"}
        prefix = "" if module is energydiag else f"{module.__name__}."
        assert declared == {name: prefix + home for name, home in module._HOME.items()}
        assert all(getattr(module, name) is not None for name in module._HOME)
