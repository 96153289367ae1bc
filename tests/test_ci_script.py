"""The script and the job of docs/continuous-integration.md: run for real, and with every exit code there is."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "sample_checkpoints"
SCRIPT = ROOT / "examples" / "ci" / "check.sh"
JOB = ROOT / "examples" / "ci" / "github-actions.yml"
PAGE = ROOT / "docs" / "continuous-integration.md"

STUB = """\
#!/usr/bin/env bash
printf '%s\\n' "$@" --end-- >>"$STUB_LOG"
for argument in "$@"; do
  if [[ "$argument" == md=* ]]; then echo "## $1" >"${argument#md=}"; fi
done
if [[ "$1" == inspect ]]; then exit "$INSPECT_CODE"; else exit "$REPAIR_CODE"; fi
"""


def program(folder: Path, content: str) -> Path:
    """A folder that holds `energydiag`."""
    folder.mkdir()
    (folder / "energydiag").write_text(content)
    (folder / "energydiag").chmod(0o755)
    return folder


def check(programs: Path, **variables: object) -> subprocess.CompletedProcess[str]:
    """The script with these variables and no others that it knows."""
    kept = {"HOME", "LANG", "TMPDIR"}
    clean = {name: value for name, value in os.environ.items() if name in kept}
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    environment = clean | {"PATH": path, "OMP_NUM_THREADS": "1"} | {name: str(v) for name, v in variables.items()}
    command = ["bash", str(SCRIPT)]
    return subprocess.run(command, env=environment, cwd=programs.parent, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def dumps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sample dumps with fewer samples, spread over all episodes, so that this is quick."""
    folder = tmp_path_factory.mktemp("some dumps")
    cut = {}
    for name, file, step in (("BATCH", "heldout-batch", 16), ("TRAIN_BATCH", "train-batch", 32)):
        cut[name] = folder / f"{file}.safetensors"
        tensors = load_file(SAMPLES / f"{file}.safetensors")
        save_file({key: value[::step].contiguous() for key, value in tensors.items()}, cut[name])
    return cut


@pytest.fixture
def energydiag(tmp_path: Path) -> Path:
    """The real program, as an installation would put it on the path."""
    installed = shlex.quote(str(Path(sys.executable).with_name("energydiag")))
    return program(tmp_path / "real", f'#!/bin/sh\nexec {installed} "$@"\n')


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    """A program that writes down its arguments and ends as it is told."""
    return program(tmp_path / "stub", STUB)


def outcomes(file: Path) -> dict[str, str]:
    """The test cases of a JUnit file and whether they failed."""
    cases = ElementTree.parse(file).iter("testcase")
    return {str(case.get("name")): "passed" if case.find("failure") is None else "failed" for case in cases}


@pytest.mark.slow
def test_a_healthy_head_passes(energydiag: Path, dumps: dict[str, Path], tmp_path: Path) -> None:
    out, summary = tmp_path / "the results", tmp_path / "summary.md"
    summary.write_text("before\n")
    done = check(
        energydiag,
        **dumps,
        CHECKPOINT=SAMPLES / "healthy.safetensors",
        OUT=out,
        STEPS=2,
        FAIL_ON="critical",
        GITHUB_STEP_SUMMARY=summary,
    )
    assert done.returncode == 0, done.stderr
    assert "failed" not in outcomes(out / "diagnosis.xml").values()
    assert outcomes(out / "repair.xml") == {"repair": "passed"}
    written = (out / "diagnosis.md").read_text() + (out / "repair.md").read_text()
    assert summary.read_text() == f"before\n{written}"


@pytest.mark.slow
def test_an_inverted_head_fails_though_its_repair_is_accepted(
    energydiag: Path, dumps: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "results"
    sick = {"CHECKPOINT": SAMPLES / "inverted.pt", "HEAD": "linear", "NHEAD": 8, "TAU": 1}
    done = check(energydiag, **dumps, **sick, OUT=out, STEPS=2, LIMIT=64)
    assert done.returncode == 1, done.stderr
    assert outcomes(out / "diagnosis.xml")["ED202 inverted-energies"] == "failed"
    repaired = outcomes(out / "repair.xml")
    assert repaired["repair"] == repaired["auroc.swap"] == "passed"
    assert (out / "repair" / "repaired.safetensors").is_file()
    assert "ED202" in (out / "diagnosis.md").read_text()


@pytest.mark.parametrize(
    ("inspected", "repaired", "expected"),
    [(0, 0, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1), (2, 0, 2), (130, 0, 130), (0, 2, 2), (1, 2, 2), (1, 130, 130)],
)
def test_exit_code(inspected: int, repaired: int, expected: int, stub: Path, tmp_path: Path) -> None:
    log, files = tmp_path / "log", dict.fromkeys(("CHECKPOINT", "BATCH", "TRAIN_BATCH"), SCRIPT)
    done = check(stub, **files, INSPECT_CODE=inspected, REPAIR_CODE=repaired, STUB_LOG=log)
    assert done.returncode == expected, done.stderr
    assert log.read_text().count("--end--") == (1 if inspected > 1 else 2)


def test_arguments_arrive_whole(stub: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a b; $(touch hacked) 'c'.pt"
    odd.touch()
    log = tmp_path / "log"
    done = check(
        stub,
        **dict.fromkeys(("CHECKPOINT", "BATCH", "TRAIN_BATCH"), odd),
        MODEL="my model.py:make",
        NHEAD=8,
        FAIL_ON="warning",
        LIMIT=64,
        OUT="an out",
        STUB_LOG=log,
        INSPECT_CODE=0,
        REPAIR_CODE=0,
    )
    assert done.returncode == 0, done.stderr
    first, second = (call.split("\n") for call in log.read_text().split("\n--end--\n")[:2])

    def formats(name: str) -> list[str]:
        files = (f"{kind}=an out/{name}.{end}" for kind, end in (("md", "md"), ("junit", "xml"), ("json", "json")))
        return [word for value in ("text", *files) for word in ("--format", value)]

    model = ["--model=my model.py:make", "--nhead=8", "--quiet"]
    assert first == [
        *("inspect", "checkpoint", str(odd), "--batch", str(odd), "--fail-on", "warning", "--limit", "64"),
        *(*model, *formats("diagnosis")),
    ]
    assert second == [
        *("fix-and-retrain", str(odd), "--batch", str(odd), "--train-batch", str(odd), "--steps", "200"),
        *("--out", "an out/repair", *model, *formats("repair")),
    ]
    assert not (tmp_path / "hacked").exists()


def test_what_is_missing_is_told_at_once(stub: Path, tmp_path: Path) -> None:
    done = check(stub, BATCH="nowhere.safetensors", STUB_LOG=tmp_path / "log")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "check.sh: CHECKPOINT is not set.",
        "  next: export CHECKPOINT=PATH",
        "check.sh: BATCH names no file: nowhere.safetensors",
        "  next: check the path, and that the job has fetched it.",
        "check.sh: TRAIN_BATCH is not set.",
        "  next: export TRAIN_BATCH=PATH",
    ]
    assert not (tmp_path / "log").exists()


def test_results_of_an_earlier_run_are_not_mixed_in(stub: Path, tmp_path: Path) -> None:
    out = tmp_path / "results"
    out.mkdir()
    (out / "diagnosis.json").touch()
    done = check(stub, **dict.fromkeys(("CHECKPOINT", "BATCH", "TRAIN_BATCH"), SCRIPT), OUT=out)
    assert done.returncode == 2
    assert "OUT is no empty folder" in done.stderr


def test_the_job_and_the_page_know_the_variables_of_the_script() -> None:
    head = SCRIPT.read_text(encoding="utf-8").partition("\nset -euo")[0]
    known = set(re.findall(r"\b[A-Z][A-Z_]{2,}\b", head))
    assert {"CHECKPOINT", "BATCH", "TRAIN_BATCH", "OUT", "STEPS", "FAIL_ON", "LIMIT", "NHEAD"} <= known
    job = JOB.read_text(encoding="utf-8")
    step = job.partition("run: bash ci/check.sh\n")[2].partition("\n\n")[0]
    given = set(re.findall(r"^ {10}([A-Z_]+):", step, re.MULTILINE)) - {"OMP_NUM_THREADS"}
    assert {"CHECKPOINT", "BATCH", "TRAIN_BATCH"} <= given <= known
    kept = re.findall(r"(?:OUT|path): (\S+)", job)
    assert kept == [kept[0]] * 2
    assert known <= set(re.findall(r"`([A-Z_]+)`", PAGE.read_text(encoding="utf-8")))
