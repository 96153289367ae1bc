"""What energydiag reads back of its own (kept answers, results, baselines) is read like a stranger's file."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile.results import fleet_text, repair_text
from hostile.truncated import result_text
from parts import make_batch, make_head
from typer.testing import CliRunner

from energydiag.cli.app import app
from energydiag.errors import EnergydiagError, UnreadableFile
from energydiag.fleet import Store
from energydiag.pipeline import ModelOptions, compare_runs, inspect_many
from energydiag.pipeline.baselines import read_baseline
from energydiag.reports import reports
from energydiag.reports.report import Look
from energydiag.results import Fleet
from energydiag.results.reading import read_json

Change = Callable[[dict[str, Any]], Any]
NO_NUMBERS = (10**400, -(10**310), math.nan, math.inf, -math.inf, True, "0.5", [1], {"a": 1})


# --- kept answers -----------------------------------------------------------------------------------------------------


class Sweep:
    """Two checkpoints, whose answers are kept.

    Args:
        folder: Which holds them.
    """

    def __init__(self, folder: Path) -> None:
        self.kept, self.dump = folder / "kept", folder / "dump.pt"
        self.paths = [folder / f"step_{number}.pt" for number in (1, 2)]
        self.first, self.second = sorted(self.kept.iterdir())
        self.good = self.first.read_text()

    def merged(self) -> Fleet:
        return swept(self.paths, self.dump, self.kept, merge=True)

    def changed(self, change: Change) -> None:
        whole = json.loads(self.good)
        change(whole)
        self.first.write_text(json.dumps(whole))


def swept(paths: list[Path], dump: Path, kept: Path, *, merge: bool = False) -> Fleet:
    model = ModelOptions(head="original", nhead=2)
    return inspect_many(paths, dump, model, workers=0, out=kept, merge=merge, tau=0.5)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    torch.save(make_batch(4).present(), folder / "dump.pt")
    paths = [folder / f"step_{number}.pt" for number in (1, 2)]
    for number, path in enumerate(paths):
        torch.save(make_head("original", seed=number).state_dict(), path)
    swept(paths, folder / "dump.pt", folder / "kept")
    return folder


@pytest.fixture
def sweep(measured: Path, tmp_path: Path) -> Sweep:
    return Sweep(Path(shutil.copytree(measured, tmp_path / "sweep")))


def of_diagnosis(change: Change) -> Change:
    return lambda whole: change(whole["answer"]["diagnosis"])


CHANGES: dict[str, Change] = {
    "an answer is missing": lambda w: w.pop("answer"),
    "an answer is a list": lambda w: w.update(answer=[1]),
    "no error": lambda w: w["answer"].pop("error"),
    "an error beside a diagnosis": lambda w: w["answer"].update(error="e"),
    "a step of 400 digits": lambda w: w["answer"].update(step=10**400),
    "a step of text": lambda w: w["answer"].update(step="1"),
    "a step that is NaN": lambda w: w["answer"].update(step=math.nan),
    "a step of lists": lambda w: w["answer"].update(step=[1]),
    "a diagnosis of numbers": lambda w: w["answer"].update(diagnosis=[1]),
    "a severity": of_diagnosis(lambda d: d["findings"][0].update(severity="deadly")),
    "a value of 400 digits": of_diagnosis(lambda d: d["measurements"][0].update(value=10**400)),
    "a value that is NaN": of_diagnosis(lambda d: d["measurements"][-1].update(value=math.nan)),
    "a checkpoint that is a list": of_diagnosis(lambda d: d.update(checkpoint=[])),
    "a verdict over findings": of_diagnosis(lambda d: d.update(verdict="healthy")),
    "a verdict without findings": of_diagnosis(lambda d: d.update(verdict="healthy", findings=[])),
    "findings turned mild": of_diagnosis(lambda d: [f.update(severity="warning") for f in d["findings"]]),
    "findings left out": of_diagnosis(lambda d: d["findings"].pop()),
    "another summary": of_diagnosis(lambda d: d["findings"][0].update(summary="All is well.")),
    "what is open left out": of_diagnosis(
        lambda d: d.update(open=[{"question": "q", "missing": "m", "answer": "a", "could_be": None, "code": "ED101"}])
    ),
    "another dump": of_diagnosis(lambda d: d["batch"].update(sha256="0" * 64)),
    "another checkpoint": of_diagnosis(lambda d: d["checkpoint"].update(sha256="0" * 64)),
    "another version": of_diagnosis(lambda d: d.update(energydiag_version="0.1")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_answer_that_is_none_is_not_shown(name: str, sweep: Sweep) -> None:
    sweep.changed(CHANGES[name])
    row, other = sweep.merged().rows
    assert (row.diagnosis, other.diagnosis is None) == (None, False)
    assert "No result" in row.error


FILES: dict[str, Callable[[Sweep], Any]] = {
    "empty": lambda s: s.first.write_text(""),
    "cut off": lambda s: s.first.write_text(s.good[:500]),
    "deep lists": lambda s: s.first.write_text(s.good.replace('"answer"', '"x": ' + "[" * 300_000 + ', "answer"')),
    "deep objects": lambda s: s.first.write_text(
        s.good.replace('"answer"', '"x": ' + '{"a":' * 500 + "1" + "}" * 500 + ', "answer"')
    ),
    "a number of 5000 digits": lambda s: s.first.write_text(s.good.replace('"step": null', '"step": ' + "9" * 5000)),
    "no UTF-8": lambda s: s.first.write_bytes(b"\xff\xfe" + s.good.encode()),
    "a million lists": lambda s: s.first.write_text("[" + "[]," * 4_000_000 + "[]]"),
    "another's answer": lambda s: s.changed(lambda w: w.update(answer=json.loads(s.second.read_text())["answer"])),
    "larger than any": lambda s: os.truncate(s.first, 64 << 20),
    "a link": lambda s: (s.first.rename(s.dump.with_name("away.json")), s.first.symlink_to("../away.json")),
    "a pipe": lambda s: (s.first.unlink(), os.mkfifo(s.first)),
    "a folder": lambda s: (s.first.unlink(), s.first.mkdir()),
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_of_an_answer_is_not_read(name: str, sweep: Sweep) -> None:
    FILES[name](sweep)
    assert [row.diagnosis is None for row in sweep.merged().rows] == [True, False]


def test_it_is_measured_again_and_kept(sweep: Sweep) -> None:
    for name in ("another's answer", "a link"):
        FILES[name](sweep)
        again = swept(sweep.paths[:1], sweep.dump, sweep.kept).rows[0].diagnosis
        assert again is not None
        told = json.loads(sweep.good)["answer"]["diagnosis"]
        assert all(again.to_dict()[key] == told[key] for key in ("verdict", "findings", "measurements"))
        assert sweep.merged().rows[0].diagnosis == again
    assert sweep.first.is_symlink(), "what is no file is left as it is"
    assert len(list(sweep.kept.iterdir())) == 3


def test_an_answer_is_found_beside_a_forged_one(sweep: Sweep) -> None:
    forged = json.loads(sweep.good)
    forged["answer"] = {"step": None, "diagnosis": None, "error": "\x1b[31mforged", "next_step": "n"}
    beside = sweep.first.with_name(f"a{sweep.first.name}")
    beside.write_text(json.dumps(forged))
    assert sweep.merged().rows[0].diagnosis is not None
    sweep.first.unlink()
    assert sweep.merged().rows[0].error == "\N{REPLACEMENT CHARACTER}[31mforged"


def test_no_escape_sequence_and_no_false_part_of_a_kept_answer_is_told(sweep: Sweep) -> None:
    def change(whole: dict[str, Any]) -> None:
        whole["answer"]["diagnosis"]["notes"].append("\x1b[2J")
        whole["answer"]["diagnosis"]["batch"]["path"] = "\x1b]0;title\x07"

    sweep.changed(change)
    for shard in (["1/2"], "1/x", f"1/{'9' * 5000}", "-1/2", "1/0", {}):
        sweep.changed(lambda whole, shard=shard: (change(whole), whole.update(shard=shard)))  # type: ignore[misc]
        sweep.paths.append(sweep.dump.with_name("none.pt"))
        found = sweep.merged()
        sweep.paths.pop()
        assert found.rows[0].diagnosis is not None
        assert found.batch.path == str(sweep.dump)
        assert found.failed[0].next_step == "check the path."
    for name, report in reports().items():
        assert "\x1b" not in report.render(found, Look(80, details=True)), name


def test_few_files_are_opened_for_one_key(tmp_path: Path) -> None:
    store = Store(tmp_path)
    place = store.put("a", {"k": 1}, {})
    for number in range(100):
        place.with_name(f"b{number}-{place.name.partition('-')[2]}").write_text(place.read_text())
    assert len(list(store.get({"k": 1}))) < 20
    assert list(store.get({"k": 2})) == []


# --- saved results ----------------------------------------------------------------------------------------------------


def leaves(plain: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where numbers stand."""
    if isinstance(plain, dict | list):
        inner = plain.items() if isinstance(plain, dict) else enumerate(plain)
        return [found for key, value in inner for found in leaves(value, (*path, key))]
    return [path] if isinstance(plain, int | float) and not isinstance(plain, bool) else []


def put(plain: Any, path: tuple[Any, ...], value: Any) -> None:
    for key in path[:-1]:
        plain = plain[key]
    plain[path[-1]] = value


OF_ANYTHING = {"provenance", "plan", "parameters", "curves", "schema_version"}


@pytest.mark.parametrize("text", [result_text, repair_text, fleet_text])
def test_no_number_of_a_saved_result_is_anything_else(text: Callable[[], str], tmp_path: Path) -> None:
    from energydiag.cli.report import _read

    saved = tmp_path / "result.json"
    places = [path for path in leaves(json.loads(text())) if not OF_ANYTHING.intersection(path)]
    assert len(places) > 1
    for number, path in enumerate(places[:: max(1, len(places) // 20)]):
        for value in (NO_NUMBERS[number % len(NO_NUMBERS)], 10**400, 1 << 64, math.nan):
            whole = json.loads(text())
            put(whole, path, value)
            saved.write_text(json.dumps(whole))
            with pytest.raises(UnreadableFile):
                _read(saved)


@pytest.mark.parametrize(
    "change",
    [
        lambda whole: whole.update(verdict="healthy"),
        lambda whole: whole.update(findings=[]),
        lambda whole: whole["findings"][0].update(severity="warning"),
    ],
)
def test_a_saved_verdict_follows_from_its_findings(change: Change, tmp_path: Path) -> None:
    whole = json.loads(result_text())
    whole["findings"], whole["verdict"] = whole["findings"][:1], "critical"
    whole["findings"][0]["severity"] = "critical"
    saved = tmp_path / "result.json"
    saved.write_text(json.dumps(whole))
    assert CliRunner().invoke(app, ["report", str(saved)]).exit_code == 0
    change(whole)
    saved.write_text(json.dumps(whole))
    told = CliRunner().invoke(app, ["report", str(saved)]).exception
    assert isinstance(told, UnreadableFile)
    assert "verdict" in told.message


@pytest.mark.parametrize(
    "content",
    [b"[" * 5000, b"9" * 5000, b"9" * 400, b"[" * 60 + b"]" * 60, b"\xff", b"[]" * 9, b"[" + b"[]," * 500_000 + b"[]]"],
)
def test_json_without_end_is_no_json(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_json(content, str)


# --- baselines --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    """Two runs, and the first as a baseline."""
    folder = tmp_path_factory.mktemp("runs")
    for number in (1, 2):
        (folder / f"run{number}").mkdir()
        rows = "".join(f"{step},{4 - 0.01 * step * number},{0.5 + 0.001 * step}\n" for step in range(0, 200, 5))
        (folder / f"run{number}" / "metrics.csv").write_text(f"step,loss,auroc\n{rows}")
    base = folder / "base.json"
    words = ["compare", "runs", str(folder / "run1"), str(folder / "run2"), "--save-baseline", str(base)]
    assert CliRunner().invoke(app, words).exit_code == 0
    return folder / "run2", folder / "changed.json", json.loads(base.read_text())


def test_a_baseline_of_anything_is_compared_with_or_refused(runs: tuple[Path, Path, dict[str, Any]]) -> None:
    run, changed, whole = runs
    values = (*NO_NUMBERS, None, [], {}, [[1]], -1, 0, 5e-324, 1e308, -1e308, 1e59, [0.0], "(" * 2000, "\x1b[2J")
    places = [("subject",), ("side",), ("side", "paths"), ("side", "facts"), ("numbers",), ("made_with",), ("kind",)]
    places += [("numbers", 0, key) for key in whole["numbers"][0]] + [("numbers", 1), ("schema_version",)]
    for path in places:
        for value in values:
            plain = json.loads(json.dumps(whole))
            put(plain, path, value)
            changed.write_text(json.dumps(plain))
            try:
                told = compare_runs([run], baseline=changed).to_dict()
            except EnergydiagError:
                continue
            json.dumps(told, allow_nan=False)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("value", value) for value in NO_NUMBERS),
        *(("freedom", value) for value in (0, -1, 0.5, math.nan)),
        *(("error", value) for value in (-1, 1e100, math.inf)),
        *(("draws", value) for value in ([], 3, "123", {"a": 1}, [math.nan], [[1]], [10**400])),
        ("matters", -0.1),
        ("better", ["higher"]),
    ],
)
def test_a_number_of_a_baseline_that_is_none(
    key: str, value: Any, runs: tuple[Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    whole = json.loads(json.dumps(runs[2]))
    whole["numbers"][0][key] = value
    base = tmp_path / "a'$(touch ran)'b.json"
    base.write_text(json.dumps(whole))
    with pytest.raises(UnreadableFile) as refused:
        read_baseline(base, "runs")
    assert refused.value.next_step.endswith("""ran)'"'"'b.json'.""")


def test_a_baseline_whose_numbers_stand_twice(runs: tuple[Path, Path, dict[str, Any]], tmp_path: Path) -> None:
    whole = json.loads(json.dumps(runs[2]))
    whole["numbers"] *= 2
    (tmp_path / "b").write_text(json.dumps(whole))
    with pytest.raises(UnreadableFile, match="twice"):
        read_baseline(tmp_path / "b", "runs")
