"""Every command in a folder that a stranger has prepared: nothing in it runs, and results are as elsewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from parts import make_batch, make_head

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = Path(sys.executable).with_name("energydiag")
MARK = "RAN"

MODULES = (
    *("struct", "pickle", "random", "json", "socket", "tempfile", "multiprocessing", "subprocess", "typing", "ast"),
    *("torch", "numpy", "pandas", "matplotlib", "rich", "typer", "click", "jinja2", "safetensors", "scipy", "PIL"),
    *("energydiag", "sitecustomize", "usercustomize", "conftest", "pip", "setuptools", "ray", "tomli", "yaml"),
)
"""Of Python, of our dependencies, and what Python and tools look for by themselves."""


def poison(folder: Path) -> Path:
    """A folder of a stranger: modules, settings of libraries, plugins' metadata, our own table in pyproject.toml."""
    folder.mkdir(parents=True, exist_ok=True)
    code = f"open({str(folder / MARK)!r}, 'a').write(__name__ + '\\n')\n"
    for name in MODULES:
        (folder / f"{name}.py").write_text(code)
    (folder / "evil.py").write_text(f"{code}\ndef make(**_):\n    raise SystemExit(7)\n")
    (folder / "matplotlibrc").write_text("text.usetex: True\nfigure.dpi: 9000\nsavefig.dpi: 9000\nfont.size: 400\n")
    metadata = folder / "evil-1.0.dist-info"
    metadata.mkdir()
    (metadata / "entry_points.txt").write_text("[matplotlib.backend]\nagg = evil\n[pytest11]\nevil = evil\n")
    (folder / "pyproject.toml").write_text(
        "[tool.energydiag]\n"
        'model = "evil.py:make"\nallow-global = ["evil.make"]\nformat = ["html=page.html"]\noutput = "written.txt"\n'
        'plots = "drawn"\nray = "auto"\nignore = ["ED1"]\n'
    )
    return folder


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dump, two checkpoints, two logs."""
    folder = tmp_path_factory.mktemp("inputs")
    torch.save(make_batch(24).present(), folder / "dump.pt")
    for number in (1, 2):
        torch.save(make_head("original", seed=number).state_dict(), folder / f"step_{number}.pt")
        run = folder / f"run{number}"
        run.mkdir()
        rows = "".join(f"{step},{4 - 0.01 * step * number}\n" for step in range(0, 200, 5))
        (run / "metrics.csv").write_text(f"step,loss\n{rows}")
    return folder


HEAD = ("--head", "original", "--nhead", "2", "--tau", "0.5")
COMMANDS: dict[str, tuple[str, ...]] = {
    "inspect": ("inspect", "checkpoint", "{}/step_1.pt", "--batch", "{}/dump.pt", *HEAD, "--plots", "{out}/figures"),
    "sweep": ("inspect", "checkpoint", "{}/step_*.pt", "--batch", "{}/dump.pt", *HEAD, "--workers", "2"),
    "batch": ("inspect", "batch", "{}/dump.pt"),
    "run": ("inspect", "run", "{}/run1", "--batch-size", "64", "--plots", "{out}/figures"),
    "runs": ("compare", "runs", "{}/run1", "{}/run2"),
    "checkpoints": ("compare", "checkpoints", "{}/step_1.pt", "{}/step_2.pt", "--batch", "{}/dump.pt", *HEAD),
    "repair": (
        "fix-and-retrain",
        "{}/step_1.pt",
        "--batch",
        "{}/dump.pt",
        *HEAD,
        "--out",
        "{out}/repaired",
        "--steps",
        "3",
    ),
    "rules": ("rules", "ED101"),
    "demo": ("demo", "--plots", "{out}/figures"),
}
QUICK = ("inspect", "batch", "run", "runs", "rules")
TORCHRUN = (sys.executable, "-I", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python")


def called(command: tuple[str, ...], inputs: Path, here: Path, out: Path, before: tuple[str, ...] = ()) -> Any:
    words = [word.replace("{out}", str(out)).replace("{}", str(inputs)) for word in command]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*before, str(PROGRAM), *words], cwd=here, env=environment, capture_output=True, text=True, check=False
    )


def untouched(folder: Path) -> None:
    mark = folder / MARK
    assert not mark.exists(), mark.read_text()
    assert not [name for name in ("page.html", "written.txt", "drawn") if (folder / name).exists()]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in COMMANDS]
)
def test_nothing_of_the_folder_runs_and_results_are_as_elsewhere(name: str, inputs: Path, tmp_path: Path) -> None:
    hostile, plain = poison(tmp_path / "hostile"), tmp_path / "plain"
    plain.mkdir()
    (plain / "pyproject.toml").write_text('[tool.energydiag]\nignore = ["ED1"]\n')
    done = [called(COMMANDS[name], inputs, here, tmp_path / f"out-{here.name}") for here in (hostile, plain)]
    untouched(hostile)
    assert "Traceback" not in done[0].stderr
    assert done[0].returncode == done[1].returncode
    shown = [re.sub(r"[\s│]", "", each.stdout).replace("out-hostile", "out-plain") for each in done]
    assert shown[0] == shown[1]
    assert "sets allow_global, format, model, output, plots, ray" in done[0].stderr
    if name in ("inspect", "sweep", "run"):
        assert "--ignoreED1,setbypyproject.toml" in shown[0]
    for one, other in zip(*(sorted((tmp_path / f"out-{n}").rglob("*.png")) for n in ("hostile", "plain")), strict=True):
        assert one.read_bytes() == other.read_bytes(), one


def test_a_pipe_called_matplotlibrc_is_not_waited_for(inputs: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "matplotlibrc")
    done = called(COMMANDS["run"], inputs, tmp_path, tmp_path / "out")
    assert (tmp_path / "out" / "figures" / "overview.png").exists(), done.stderr


@pytest.mark.slow
def test_many_processes_without_the_folder_on_their_module_path(inputs: Path, tmp_path: Path) -> None:
    hostile = poison(tmp_path / "hostile")
    repair = (*COMMANDS["repair"], "--batch-size", "8", "--no-autocast")
    done = called(repair, inputs, hostile, tmp_path / "out", TORCHRUN)
    untouched(hostile)
    assert (tmp_path / "out" / "repaired" / "result.json").exists(), done.stderr


@pytest.mark.parametrize("environment", [{}, {"RANK": "0"}])
def test_python_m_is_refused_with_the_command_that_is_safe(environment: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "energydiag", "rules", "ED101"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    program = "torchrun --no-python energydiag" if environment else "energydiag"
    assert f"next: {program} rules ED101" in done.stderr


@pytest.mark.slow
def test_what_the_command_line_names_is_obeyed(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.energydiag]\nformat = ["json=result.json"]\n')
    command = ("--config", "pyproject.toml", *COMMANDS["batch"])
    called(command, inputs, tmp_path, tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["provenance"]["config"] == {"file": "pyproject.toml", "options": "--format json=result.json"}
    unread = called(("--no-config", *COMMANDS["batch"]), inputs, tmp_path, tmp_path)
    assert unread.stdout
    assert "sets" not in unread.stderr


@pytest.mark.slow
def test_the_ci_script_and_the_action_in_a_hostile_checkout(inputs: Path, tmp_path: Path) -> None:
    hostile = poison(tmp_path / "hostile")
    (hostile / "pyproject.toml").write_text(
        '[tool.energydiag]\nignore = ["ED"]\nfail-on = "never"\nmodel = "evil.py:make"\n'
    )
    environment = {
        **os.environ,
        "PATH": f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}",
        **{"CHECKPOINT": str(inputs / "step_1.pt"), "BATCH": str(inputs / "dump.pt"), "OUT": str(tmp_path / "out")},
        "ARGS": "\n".join((*HEAD, "--fail-on", "warning")),
    }
    done = subprocess.run(
        ["sh", str(ROOT / "ci" / "energydiag.sh")],
        cwd=hostile,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    untouched(hostile)
    assert done.returncode == 1, done.stderr  # as without the folder's own settings
    install = (ROOT / "action.yml").read_text()
    assert "python -I -m pip install" in install
    version = [sys.executable, "-I", "-m", "pip", "--version"]
    assert subprocess.run(version, cwd=hostile, capture_output=True, check=False).returncode == 0
    untouched(hostile)
