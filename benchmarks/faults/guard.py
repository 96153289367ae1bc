"""The part of the benchmark that is small enough to run at every change, against what it said when it was scored.

One architecture with one seed of the calibration part: every fault once, and its healthy controls.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from energydiag.atomic import write_text

from .catalogue import CELLS, Run, runs
from .report import VIEWS, verdict_of
from .score import Verdict
from .work import DIAGNOSIS

GUARDED = CELLS[0]
TOLERANCE = 2
"""Runs that may come out otherwise on another machine, where sums are rounded in another order."""


def guarded_runs() -> list[Run]:
    """What is run: no pairs."""
    return [run for run in runs(GUARDED.part) if run.cell == GUARDED and run.kind != "pair"]


def counts(out: Path) -> dict[str, int]:
    """How many of the guarded runs in a folder were told rightly: faults by their root, controls by silence."""
    every = _verdicts(out)
    faulty = [v for v in every if v.truth and v.counts]
    return {
        "runs": len(every),
        "effective": len(faulty),
        "root_right": sum(v.root_is_right for v in faulty),
        "named": sum(v.named(v.truth[0]) for v in faulty),
        "controls_called_critical": sum(any(f.critical for f in v.found) for v in every if not v.truth and v.counts),
    }


def write_guard(out: Path, results: Path) -> None:
    """Adds the counts of these runs to the results, as what is compared with later."""
    found = json.loads(results.read_text(encoding="utf-8"))
    if counts(out)["runs"] < len(guarded_runs()):  # the folder holds other parts
        return
    write_text(results, json.dumps(found | {"guard": counts(out)}, indent=1) + "\n")


def guard(results: Path, jobs: int) -> tuple[bool, list[str]]:
    """Trains, measures and judges the guarded runs; whether they are told as well as before, and lines that say so.

    Args:
        results: The committed numbers.
        jobs: Processes at once.
    """
    before: dict[str, Any] = json.loads(results.read_text(encoding="utf-8"))["guard"]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        for act in ("train", "measure"):
            _in_shards(act, out, jobs)
        now = counts(out)
        wrong = [_line(v) for v in _verdicts(out) if v.counts and _is_wrong(v)]
    fewer = [name for name in ("runs", "effective", "root_right", "named") if now[name] < before[name] - TOLERANCE]
    more = now["controls_called_critical"] > before["controls_called_critical"]
    return not fewer and not more, [*wrong, f"before: {before}", f"now:    {now}"]


def _verdicts(out: Path) -> list[Verdict]:
    return [
        verdict_of(run, out / run.id, VIEWS["both"]) for run in guarded_runs() if (out / run.id / DIAGNOSIS).exists()
    ]


def _is_wrong(verdict: Verdict) -> bool:
    return not verdict.root_is_right if verdict.truth else any(f.critical for f in verdict.found)


def _line(verdict: Verdict) -> str:
    said = " ".join(f.code for f in verdict.found[:4]) or "nothing"
    return f"{verdict.id}: {said}" + (f" instead of {' or '.join(verdict.accepted[0])}" if verdict.truth else "")


def _in_shards(act: str, out: Path, jobs: int) -> None:
    only = ",".join(run.id for run in guarded_runs())
    part: Sequence[str] = ("--part", GUARDED.part) if act == "train" else ()
    command = [sys.executable, "-m", "benchmarks.faults.run", act, "--out", str(out), "--only", only, *part]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = [subprocess.Popen([*command, "--shard", f"{i + 1}/{jobs}"], env=environment) for i in range(jobs)]
    failed = [process.wait() for process in started]
    if any(failed):
        raise SystemExit(f"{act} ended with {failed}")
