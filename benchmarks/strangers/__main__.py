"""``python -m benchmarks.strangers make|score|list``: see README.md beside this file."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

# sums come out the same on any number of cores; must be told before torch is loaded
os.environ.setdefault("OMP_NUM_THREADS", "1")


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    options.act(options)


def _make(options: argparse.Namespace) -> None:
    import torch

    from .catalogue import cases
    from .make import NotAsSaid, make

    torch.set_num_threads(1)
    every = cases()
    unknown = sorted(set(options.names) - set(every))
    if unknown:
        raise SystemExit(f"no case named {', '.join(unknown)}; `list` names them all")
    wrong = []
    for name in options.names or every:
        try:
            truth = make(every[name], options.out, check=not options.unchecked)
        except NotAsSaid as error:
            wrong.append(name)
            _say(f"NOT AS SAID {error}")
            continue
        _say(f"{name} {truth['facts']}")
    if wrong:
        raise SystemExit(f"not what they are said to be, and not written: {', '.join(wrong)}")


def _score(options: argparse.Namespace) -> None:
    from .score import score

    score(options.out, options.json, options.jobs, objective=options.objective, negatives=options.negatives)


def _list(options: argparse.Namespace) -> None:  # noqa: ARG001
    from .catalogue import cases

    for case in cases().values():
        _say(f"{case.name}: {case.objective}, {case.fault or 'healthy'}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.strangers", description=__doc__)
    commands = parser.add_subparsers(required=True)
    make = commands.add_parser("make", help="train or draw the cases and write their folders")
    make.add_argument("out", type=Path)
    make.add_argument("names", nargs="*", metavar="NAME", help="of cases; all of them where none is named")
    make.add_argument("--unchecked", action="store_true", help="write cases whose facts are not as said, too")
    score = commands.add_parser("score", help="ask the real commands about every case below a folder, and count")
    score.add_argument("out", type=Path, help="OUT/CASE/truth.json or OUT/CASE/VARIANT/truth.json")
    score.add_argument("--json", type=Path, help="file for every answer and the summary")
    score.add_argument("--objective", action="store_true", help="name the objective to the commands")
    score.add_argument("--negatives", action="store_true", help="tell the number of negatives with the batch size")
    score.add_argument("--jobs", type=int, default=2, help="processes at once")
    listed = commands.add_parser("list", help="names of the cases")
    for command, act in ((make, _make), (score, _score), (listed, _list)):
        command.set_defaults(act=act)
    return parser


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
