"""``python -m benchmarks.faults.run train|measure|calibrate|score|guard``: see README.md beside this file."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

# sums come out the same on any number of cores; must be told before torch is loaded
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from .catalogue import Run, runs
from .work import DIAGNOSIS, measure_run, train_run

RESULTS = Path(__file__).parent / "results.json"
CALIBRATION = Path(__file__).parents[2] / "energydiag" / "rules" / "calibration.json"


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    options.act(options)


def _train(options: argparse.Namespace) -> None:
    chosen = _of_shard(_named(runs(options.part), options.only), options.shard)
    for number, run in enumerate(chosen, 1):
        if (options.out / run.id).exists():
            continue
        began = time.process_time()
        try:
            train_run(run, options.out)
        except Exception as error:  # one run that cannot be trained must not end the others
            _say(f"{number}/{len(chosen)} {run.id} FAILED: {type(error).__name__}: {error}")
            continue
        _say(f"{number}/{len(chosen)} {run.id} {time.process_time() - began:.1f} s")


def _measure(options: argparse.Namespace) -> None:
    done = [run for run in _named(runs(), options.only) if (options.out / run.id).exists()]
    for run in _of_shard(done, options.shard):
        if (options.out / run.id / DIAGNOSIS).exists() and not options.again:
            continue
        of_checkpoint, _ = measure_run(options.out / run.id)
        _say(f"{run.id} {of_checkpoint.get('verdict') or of_checkpoint['error']}")


def _score(options: argparse.Namespace) -> None:
    from .guard import write_guard
    from .report import write_results

    for line in write_results(options.out, options.results):
        _say(line)
    write_guard(options.out, options.results)


def _calibrate(options: argparse.Namespace) -> None:
    from .calibrate import write_calibration

    _say(f"{write_calibration(options.out, CALIBRATION)} runs of the calibration part")


def _guard(options: argparse.Namespace) -> None:
    from .guard import guard

    well, lines = guard(options.results, options.jobs)
    for line in lines:
        _say(line)
    if not well:
        raise SystemExit("the guarded runs are told worse than before")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults.run", description=__doc__)
    commands = parser.add_subparsers(required=True)
    train = commands.add_parser("train", help="train the runs; those that are there already are left alone")
    train.add_argument("--part", choices=("calibration", "test", "all"), default="all")
    measure = commands.add_parser("measure", help="inspect the checkpoints and logs of the trained runs")
    measure.add_argument("--again", action="store_true", help="also those that were measured before")
    score = commands.add_parser("score", help="judge the measurements by the rules as they are now, and count")
    score.add_argument("--results", type=Path, default=RESULTS, help="where the numbers go")
    calibrate = commands.add_parser("calibrate", help="write the figures that stand beside the rules' thresholds")
    guard = commands.add_parser("guard", help="train, measure and judge a small part, and compare with the results")
    guard.add_argument("--jobs", type=int, default=2, help="processes at once")
    guard.add_argument("--results", type=Path, default=RESULTS, help="what to compare with")
    guard.set_defaults(act=_guard)
    for command, act in ((train, _train), (measure, _measure), (score, _score), (calibrate, _calibrate)):
        command.add_argument("--out", type=Path, required=True, help="folder of the runs")
        command.set_defaults(act=act)
    for command in (train, measure):
        command.add_argument(
            "--shard", type=_shard, default=(1, 1), metavar="I/N", help="every N-th run, from the I-th"
        )
        command.add_argument("--only", default="", help="names of runs begin so; several with commas")
    return parser


def _shard(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with 1 <= I <= N")
    return int(number), int(count)


def _of_shard(every: Sequence[Run], shard: tuple[int, int]) -> Sequence[Run]:
    number, count = shard
    return every[number - 1 :: count]


def _named(every: list[Run], only: str) -> list[Run]:
    beginnings = tuple(only.split(","))
    return [run for run in every if run.id.startswith(beginnings)]


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
