"""``python -m benchmarks.faults.repairs.run repair|score``: what a repair by diagnosis is worth.

Every run of the fault benchmark whose fault took effect and stands first in its diagnosis is treated in three ways, and
each is judged by the proof of ``fix-and-retrain`` on the run's own dump: ``auto`` as ``--fix auto`` does; ``random``
with one fix drawn among those that can be applied; ``control``, trained as long without any.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# sums come out the same on any number of cores; must be told before torch is loaded
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from energydiag.atomic import write_text

from ..run import RESULTS
from ..run import _shard as shard
from .tally import tally
from .treatments import TREATMENTS
from .work import STEPS, diagnosable, repair_run, results_in


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    options.act(options)


def _repair(options: argparse.Namespace) -> None:
    number, count = options.shard
    chosen = [
        run for run in diagnosable(options.runs, options.part) if run.id.startswith(tuple(options.only.split(",")))
    ]
    for run in chosen[number - 1 :: count]:
        if (options.out / f"{run.id}.json").exists():
            continue
        path = repair_run(run, options.runs, options.out, options.steps)
        _say(_line(json.loads(path.read_text(encoding="utf-8"))))


def _score(options: argparse.Namespace) -> None:
    found: dict[str, Any] = json.loads(options.results.read_text(encoding="utf-8")) if options.results.exists() else {}
    found["repair"] = tally(results_in(options.out, options.part))
    write_text(options.results, json.dumps(found, indent=1) + "\n")
    for name in TREATMENTS:
        told = found["repair"][name]
        _say(f"{name}: " + ", ".join(f"{k} {told[k]['value']} {told[k]['ci95']}" for k in ("accepted", "harmed")))


def _line(told: dict[str, Any]) -> str:
    if "error" in told:
        return f"{told['id']} {told['root']} FAILED: {told['error']}"
    outcomes = told["treatments"].values()
    verdicts = ", ".join(f"{o['treatment']} {o['verdict']} ({'+'.join(o['fixes']) or '-'})" for o in outcomes)
    return f"{told['id']} {told['root']} {told['seconds']} s: {verdicts}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults.repairs.run", description=__doc__)
    commands = parser.add_subparsers(required=True)
    repair = commands.add_parser("repair", help="treat the diagnosable runs; those that were are left alone")
    repair.add_argument("--runs", type=Path, required=True, help="folder of the trained and measured runs")
    repair.add_argument("--shard", type=shard, default=(1, 1), metavar="I/N", help="every N-th run, from the I-th")
    repair.add_argument("--only", default="", help="names of runs begin so; several with commas")
    repair.add_argument("--steps", type=int, default=STEPS, help="of every treatment")
    score = commands.add_parser("score", help="count what came out")
    score.add_argument("--results", type=Path, default=RESULTS, help="where the numbers go, under the key `repair`")
    for command, act in ((repair, _repair), (score, _score)):
        command.add_argument("--out", type=Path, required=True, help="folder of the treatments' results")
        command.add_argument("--part", choices=("test", "calibration"), default="test")
        command.set_defaults(act=act)
    return parser


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
