"""The gate of a job, in both directions: a worse head fails, an equal one passes, and what is not known is neither."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "sample_checkpoints"
SCRIPT = ROOT / "ci" / "energydiag.sh"
PAGE = ROOT / "docs" / "continuous-integration.md"
STARTER = f"""\
#!{sys.executable}
import sys
sys.path.insert(0, {str(ROOT)!r})
from energydiag.cli import main
main()
"""
"""As an installation writes it, for the package of this checkout."""

SIGN_TURNED = "--head\nlinear\n--nhead\n8\n--tau\n1"


def program(folder: Path, content: str) -> None:
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / "energydiag").write_text(content)
    (folder / "bin" / "energydiag").chmod(0o755)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with this checkout's program, a dump of 72 episodes, and one of 2."""
    program(tmp_path, STARTER)
    tensors = load_file(SAMPLES / "heldout-batch.safetensors")
    few = torch.isin(tensors["episode"], tensors["episode"].unique()[:2])
    save_file({key: value[::16].contiguous() for key, value in tensors.items()}, tmp_path / "many.safetensors")
    save_file({key: value[few].contiguous() for key, value in tensors.items()}, tmp_path / "few.safetensors")
    return tmp_path


def started(folder: Path, command: list[str], **variables: object) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if key in ("HOME", "LANG", "TMPDIR")}
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    given = {**kept, "PATH": path, "OMP_NUM_THREADS": "1", **{key: str(value) for key, value in variables.items()}}
    return subprocess.run(command, env=given, cwd=folder, capture_output=True, text=True, check=False)


def gate(folder: Path, head: str, dump: str, **variables: object) -> subprocess.CompletedProcess[str]:
    return started(folder, ["sh", str(SCRIPT)], CHECKPOINT=SAMPLES / head, BATCH=dump, **variables)


@pytest.mark.slow
def test_a_sick_head_fails_and_a_healthy_one_passes(folder: Path) -> None:
    assert gate(folder, "inverted.pt", "many.safetensors", ARGS=SIGN_TURNED).returncode == 1
    healthy = gate(folder, "healthy.safetensors", "many.safetensors")
    assert (healthy.returncode, healthy.stderr) == (0, "")


@pytest.mark.slow
def test_too_few_episodes_neither_pass_nor_count_as_a_finding(folder: Path) -> None:
    done = gate(folder, "healthy.safetensors", "few.safetensors")
    assert done.returncode == 3, done.stderr
    assert "UNDETERMINED" in done.stdout
    let_through = gate(folder, "healthy.safetensors", "few.safetensors", INCONCLUSIVE_FAILS="false")
    assert let_through.returncode == 0
    assert let_through.stderr.splitlines()[-1].startswith("not an all-clear: ")


def documented_step() -> str:
    """The comparison of the page, as the runner would start it."""
    (example,) = (one for one in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL) if "RELEASED" in one)
    (step,) = yaml.safe_load(example)
    assert set(step["env"]) == {"RELEASED", "CHECKPOINT", "BATCH"}
    return str(step["run"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("released", "new", "dump", "code"),
    [
        ("healthy", "rescaled", "many", 1),
        ("rescaled", "healthy", "many", 0),
        ("healthy", "healthy", "many", 0),
        ("healthy", "rescaled", "few", 3),
        ("healthy", "healthy", "few", 3),
    ],
)
def test_the_comparison_of_the_page(released: str, new: str, dump: str, code: int, folder: Path) -> None:
    heads = {"RELEASED": SAMPLES / f"{released}.safetensors", "CHECKPOINT": SAMPLES / f"{new}.safetensors"}
    command = ["bash", "-eo", "pipefail", "-c", documented_step()]
    done = started(folder, command, **heads, BATCH=f"{dump}.safetensors")
    assert done.returncode == code, done.stdout + done.stderr
    assert (folder / "comparison.md").is_file()


@pytest.mark.parametrize(
    ("variables", "passed", "code"),
    [
        ({}, True, 0),
        ({"INCONCLUSIVE_FAILS": "true"}, True, 0),
        ({"INCONCLUSIVE_FAILS": "false"}, False, 0),
        ({"INCONCLUSIVE_FAILS": ""}, True, 0),
        ({"INCONCLUSIVE_FAILS": "maybe"}, False, 2),
    ],
)
def test_the_gate_is_told_unless_it_is_turned_off(
    variables: dict[str, str], passed: bool, code: int, tmp_path: Path
) -> None:
    program(tmp_path, '#!/bin/sh\nprintf "%s\\n" "$@" >arguments\n')
    done = gate(tmp_path, "healthy.safetensors", "dump", **variables)
    assert done.returncode == code, done.stderr
    told = tmp_path / "arguments"
    assert ("--inconclusive-fails" in told.read_text().splitlines() if told.exists() else False) is passed
