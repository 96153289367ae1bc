"""``python -m benchmarks.faults.peers.run train|check|score``: see PEERS.md in the folder above."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# sums come out the same on any number of cores; must be told before torch is loaded
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from ..catalogue import Run
from ..run import RESULTS, _say, _shard
from .scoring import chosen_runs, write_scores
from .work import digest, is_done, stored_recipe, train_again, watch_run


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    options.act(options)


def _train(options: argparse.Namespace) -> None:
    chosen, progress = _chosen(options), True
    while progress:  # once more, since the benchmark's own training may have gone on meanwhile
        progress = False
        for number, run in enumerate(chosen, 1):
            folder, path = options.runs / run.id, options.out / f"{run.id}.json"
            if not folder.exists() or is_done(folder, path):
                continue
            progress = True
            told = _read(watch_run(run, folder, options.out))
            failed = told.get("failed") or told["failures"] or ""
            _say(f"{number}/{len(chosen)} {run.id} {told['seconds']} s {failed}")


def _check(options: argparse.Namespace) -> None:
    for run in _chosen(options):
        path = options.out / f"{run.id}.json"
        if not is_done(options.runs / run.id, path):
            continue
        module, _, _ = train_again(stored_recipe(options.runs / run.id), [])
        _say(f"{run.id} {'same weights' if digest(module) == _read(path).get('weights') else 'OTHER WEIGHTS'}")


def _score(options: argparse.Namespace) -> None:
    for line in write_scores(options.runs, options.out, options.results):
        _say(line)


def _chosen(options: argparse.Namespace) -> list[Run]:
    beginnings = tuple(options.only.split(","))
    named = [run for run in chosen_runs() if run.id.startswith(beginnings)]
    number, count = options.shard
    return named[number - 1 :: count]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults.peers.run", description=__doc__)
    commands = parser.add_subparsers(required=True)
    train = commands.add_parser(
        "train", help="train the test part again with peers attached; what is there is left alone"
    )
    check = commands.add_parser("check", help="train again without peers, and compare the weights bit by bit")
    score = commands.add_parser("score", help="count what the peers said")
    elsewhere = Path(tempfile.gettempdir()) / "peers-results.json"
    score.add_argument(
        "--results",
        type=Path,
        default=RESULTS if RESULTS.exists() else elsewhere,
        help="where the numbers go; without one, results.json of the benchmark if it is there",
    )
    for command, act in ((train, _train), (check, _check), (score, _score)):
        command.add_argument("--runs", type=Path, required=True, help="folder of the benchmark's own runs; only read")
        command.add_argument("--out", type=Path, required=True, help="folder of what peers say, one file a run")
        command.set_defaults(act=act)
    for command in (train, check):
        command.add_argument(
            "--shard", type=_shard, default=(1, 1), metavar="I/N", help="every N-th run, from the I-th"
        )
        command.add_argument("--only", default="", help="names of runs begin so; several with commas")
    return parser


def _read(path: Path) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return plain


if __name__ == "__main__":
    main()
