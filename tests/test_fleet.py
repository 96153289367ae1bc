"""Several checkpoints at once: every one has one row, whatever happens to the process that measures it."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from parts import make_batch, make_head
from safetensors.torch import save_file

from energydiag.checkpoints.listing import list_checkpoints, step_in_name
from energydiag.cli import main
from energydiag.errors import EnergydiagError, UsageError
from energydiag.fleet import Processes
from energydiag.pipeline import ModelOptions, inspect_checkpoint, inspect_many
from energydiag.reports import reports
from energydiag.reports.report import Look
from energydiag.results import Fleet

ROOT = Path(__file__).resolve().parent.parent
FIELDS = ("hidden", "actions", "pad_mask", "layer_actions", "episode")
SETTINGS = {"head": "original", "nhead": "2", "tau": "0.5"}

FACTORY = '''
"""A head that does to its process what its checkpoint says, and notes that it was loaded."""
import os, signal
from pathlib import Path

import torch

from energydiag.models.cross_attention import CrossAttentionEnergy

HERE = Path(__file__).parent


class Head(CrossAttentionEnergy):
    def load_state_dict(self, *given, **named):
        loaded = super().load_state_dict(*given, **named)
        step, deed = (int(number) for number in self.told)
        with (HERE / "loaded").open("a") as log:
            log.write(f"{step}\\n")
        before = (HERE / "loaded").read_text().split().count(str(step))
        if deed == 2 or (deed == 1 and before == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if deed == 3:
            with (HERE / "fifo").open("w") as told:
                told.write(str(os.getpid()))
            signal.pause()
        return loaded


def make():
    head = Head(12, 3, hidden=16, nhead=2, head="original")
    head.register_buffer("told", torch.zeros(2))
    return head
'''
FINE, DIES_ONCE, DIES, WAITS = range(4)


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dump") / "dump.pt"
    batch = make_batch(12)
    torch.save({name: getattr(batch, name) for name in FIELDS}, path)
    return path


def plain_head(path: Path, seed: int, **more: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    save_file(make_head("original", seed).state_dict(), path, SETTINGS | more)
    return path


def told_head(folder: Path, step: int, deed: int) -> Path:
    (folder / "factory.py").write_text(FACTORY)
    path = folder / f"step_{step}.pt"
    torch.save({**make_head("original", step).state_dict(), "told": torch.tensor([float(step), float(deed)])}, path)
    return path


def loads(folder: Path) -> Counter[str]:
    return Counter((folder / "loaded").read_text().split())


def text(fleet: Fleet, width: int = 80) -> str:
    return reports()["text"].render(fleet, Look(width))


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> object:
    monkeypatch.setattr(sys, "argv", ["energydiag", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


def test_a_worker_that_dies_costs_one_retry_and_no_other_checkpoint(
    dump: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some are fine, one kills its process once, one always, one is no checkpoint; then all again, and all are kept."""
    for step, deed in ((1, FINE), (2, DIES_ONCE), (3, DIES), (20, FINE)):
        told_head(tmp_path, step, deed)
    (tmp_path / "step_4.pt").write_bytes(b"rubbish")
    saved, out = tmp_path / "result.json", tmp_path / "kept"
    job = (
        *("inspect", "checkpoint", tmp_path / "step_*.pt", "--batch", dump, "--model", f"{tmp_path}/factory.py:make"),
        *("--workers", 2, "--out", out, "--format", f"json={saved}", "-q"),
    )
    assert run(monkeypatch, *job) == 2
    fleet = Fleet.from_dict(json.loads(saved.read_text()))
    assert [row.step for row in fleet.rows] == [1, 2, 3, 4, 20]
    assert [row.step for row in fleet.diagnosed] == [1, 2, 20]
    killed, unreadable = fleet.failed
    assert "SIGKILL" in killed.error
    assert "step_4.pt" in unreadable.error
    assert unreadable.next_step
    assert loads(tmp_path) == {"1": 1, "2": 2, "3": 2, "20": 1}
    assert len(list(out.iterdir())) == 5

    assert run(monkeypatch, *job) == 2
    assert loads(tmp_path) == {"1": 1, "2": 2, "3": 4, "20": 1}, "what is there is not measured again, errors are"
    again = Fleet.from_dict(json.loads(saved.read_text()))
    assert replace(again, created="") == replace(fleet, created="")


def test_parts_that_are_merged_give_the_table_of_one_run(dump: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "checkpoints", tmp_path / "kept"
    for step in (1, 2, 10):
        plain_head(folder / f"step_{step}.safetensors", step)
    whole = inspect_many([folder], dump, workers=0)
    first = inspect_many([folder], dump, workers=0, out=out, shard=(1, 2))
    assert [row.step for row in first.rows] == [1, 10]

    half = inspect_many([folder], dump, out=out, merge=True)
    assert [row.checkpoint for row in half.failed] == [str(folder / "step_2.safetensors")]
    assert half.failed[0].next_step == "run it with --shard 2/2."
    inspect_many([folder], dump, workers=0, out=out, shard=(2, 2))
    merged = inspect_many([folder], dump, out=out, merge=True)
    assert text(merged) == text(whole)
    assert [row.diagnosis and row.diagnosis.measurements for row in merged.rows] == [
        row.diagnosis and row.diagnosis.measurements for row in whole.rows
    ]
    other = inspect_many([folder], dump, out=out, merge=True, seed=1)
    assert len(other.failed) == 3, "results with other settings are other results"


def test_a_file_is_measured_again_when_it_changes_and_once_when_it_is_copied(dump: Path, tmp_path: Path) -> None:
    told: list[str] = []
    paths = [plain_head(tmp_path / "step_5.safetensors", 1), tmp_path / "copied.safetensors"]
    shutil.copy(*paths)
    fleet = inspect_many(paths, dump, workers=0, out=tmp_path / "kept", progress=told.append)
    assert [(row.checkpoint, row.step) for row in fleet.rows] == [(str(paths[0]), 5), (str(paths[1]), None)]
    assert [row.diagnosis and row.diagnosis.checkpoint.path for row in fleet.rows] == list(map(str, paths))
    assert told[-1].startswith("1 of 1 ")
    plain_head(paths[0], 2)
    inspect_many(paths, dump, workers=0, out=tmp_path / "kept", progress=told.append)
    assert told[-1].startswith("1 of 1 ")
    inspect_many(paths, dump, workers=0, out=tmp_path / "kept", progress=told.append)
    assert told[-1].startswith("hash ")


def test_one_checkpoint_is_told_of_as_one(
    dump: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, saved = plain_head(tmp_path / "head.safetensors", 1), tmp_path / "result.json"
    assert run(monkeypatch, "inspect", "checkpoint", path, "--batch", dump, "--format", f"json={saved}") == 1
    alone = json.loads(saved.read_text())
    expected = inspect_checkpoint(path, dump, ModelOptions(), command=["energydiag", *sys.argv[1:]])
    assert alone == expected.to_dict() | {"created": alone["created"]}

    table = ("inspect", "checkpoint", tmp_path / "*.safetensors", "--batch", dump, "--workers", 0)
    assert run(monkeypatch, *table, "--format", f"json={saved}", "--plots", tmp_path / "plots") == 1
    fleet = Fleet.from_dict(json.loads(saved.read_text()))
    assert fleet.rows[0].diagnosis is not None
    assert fleet.rows[0].diagnosis.measurements == expected.measurements
    assert run(monkeypatch, *table, "--fail-on", "never") == 0
    assert "next" not in capsys.readouterr().err


def test_every_format_shows_every_checkpoint(
    dump: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [plain_head(tmp_path / "step_2.safetensors", 2), plain_head(tmp_path / "last.safetensors", 3, step="10")]
    (tmp_path / "step_3.safetensors").write_bytes(b"rubbish")
    fleet = inspect_many([tmp_path], dump, workers=0)
    assert [row.step for row in fleet.rows] == [2, 3, 10], "what the metadata says, else the name"
    for width in (80, 120):
        assert max(map(len, text(fleet, width).splitlines())) <= width
    assert "step_3.safetensors" in text(fleet)
    shown = reports()["md"].render(fleet, Look())
    cases = ElementTree.fromstring(reports()["junit"].render(fleet, Look()))
    for path in paths:
        assert path.name in shown
    assert [case.get("name") for case in cases.iter("testcase")] == [
        f"{n}.safetensors" for n in ("step_2", "step_3", "last")
    ]
    assert [case.find("failure") is not None for case in cases.iter("testcase")] == [True] * 3
    frame = fleet.to_frame()
    assert list(frame["step"]) == [2, 3, 10]
    assert frame["auroc.swap"].notna().tolist() == [True, False, True]

    saved, plots = tmp_path / "result.json", tmp_path / "plots"
    saved.write_text(fleet.to_json())
    assert Fleet.from_dict(json.loads(fleet.to_json())).to_dict() == fleet.to_dict()
    assert run(monkeypatch, "report", saved, "--plots", plots, "--details") == 0
    assert "CRITICAL: 2 of 3 checkpoints" in capsys.readouterr().out
    assert {p.stem for p in plots.glob("*.png")} == {"overview", "fleet_field", "fleet_ranks", "fleet_scales"}


def test_names_and_errors_of_a_stranger_come_out_inert(dump: Path, tmp_path: Path) -> None:
    fleet = inspect_many([plain_head(tmp_path / "a.safetensors", 1), tmp_path / "b"], dump, workers=0)
    good, bad = fleet.rows
    for text in ("\x1b[31m|`@someone", "a\nb", ""):
        rows = replace(good, checkpoint=f"{text}1"), replace(bad, checkpoint=f"{text}2", error=text, next_step=text)
        for name, report in reports().items():
            shown = report.render(replace(fleet, rows=rows), Look(120))
            assert "\x1b" not in shown
            assert "@someone" not in shown or name != "md"


@pytest.mark.slow
def test_ctrl_c_ends_all_processes_and_keeps_what_is_done(dump: Path, tmp_path: Path) -> None:
    told_head(tmp_path, 1, FINE)
    waits = told_head(tmp_path, 2, WAITS)
    os.mkfifo(tmp_path / "fifo")
    command = (
        *("inspect", "checkpoint", tmp_path / "step_1.pt", waits, "--batch", dump, "--out", tmp_path / "kept"),
        *("--model", f"{tmp_path}/factory.py:make", "--workers", "1"),
    )
    driver = subprocess.Popen(
        [sys.executable, "-m", "energydiag", *map(str, command)],
        **{"cwd": ROOT, "stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True},  # type: ignore[call-overload]
        start_new_session=True,
        # a test that runs in the background of a script inherits that Ctrl-C is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    fifo = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    select.select([fifo, driver.stdout], [], [])  # until the worker has begun with the second, or all ended too early
    worker = int(os.read(fifo, 20))
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal does: every process gets it
    _, errors = driver.communicate(timeout=120)
    assert driver.returncode == 130
    assert "Traceback" not in errors
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
    assert [path.name.partition("-")[0] for path in (tmp_path / "kept").iterdir()] == ["step_1"]


def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert [done.answer for done in Processes(1, threads=3).run(os.getenv, ["OMP_NUM_THREADS"])] == ["3"]
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert [done.answer for done in Processes(1, threads=3).run(os.getenv, ["OMP_NUM_THREADS"])] == ["2"]


def test_folders_and_patterns_are_resolved_in_natural_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (
        "step_10.pt",
        "step_2.pt",
        "checkpoint-30/model.safetensors",
        "optimizer.pt",
        "notes.txt",
        "logs/a.csv",
    ):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"-")
    Path("checkpoint-30/optimizer.bin").write_bytes(b"-")
    assert [str(path) for path in list_checkpoints(["."])] == ["checkpoint-30", "step_2.pt", "step_10.pt"]
    assert [str(p) for p in list_checkpoints(["step_*.pt", "./step_2.pt"])] == ["step_2.pt", "step_10.pt"]
    assert list_checkpoints(["missing.pt"]) == (Path("missing.pt"),)
    for nothing in ("ckpt_*.pt", "logs"):
        with pytest.raises(EnergydiagError):
            list_checkpoints([nothing])


@pytest.mark.parametrize(
    ("name", "step"),
    [
        *(("step_10.pt", 10), ("epoch=3-step=1200.ckpt", 1200), ("checkpoint-500/model.safetensors", 500)),
        *(("checkpoint-500", 500), ("head_v2.pt", None), ("head_lr0.001.pt", None), ("2026-01-02/last.pt", None)),
    ],
)
def test_steps_are_read_from_names(name: str, step: int | None) -> None:
    assert step_in_name(name) == step


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--shard", "0/2"), "--shard is I/N"),
        (("--shard", "1/2"), "--out"),
        (("--merge",), "--out"),
        (("--merge", "--out", "kept", "--shard", "1/2"), "--merge"),
        (("--select", "FOO", "--workers", "0", "--out", "kept"), "FOO"),
    ],
)
def test_wrong_usage_is_told_once(
    arguments: tuple[str, ...],
    message: str,
    dump: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "inspect", "checkpoint", "a.pt", "b.pt", "--batch", dump, *arguments) == 2
    assert message in capsys.readouterr().err


def test_without_ray_the_command_that_installs_it_is_told(dump: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"energydiag\[ray\]"):
        inspect_many(["a.pt", "b.pt"], dump, ray="auto")
