"""What ``energydiag inspect checkpoint`` does besides where it is given several checkpoints."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from energydiag.cli.output import exit_code
from energydiag.errors import EnergydiagError, UsageError

if TYPE_CHECKING:
    from energydiag.results import Fleet

Out = Annotated[
    Path | None,
    typer.Option(
        help="Folder that keeps the result of each checkpoint as soon as it is there; the same command again measures "
        "only what is missing.",
        show_default=False,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(min=0, help="Processes that measure; 0: this one alone. [default: one a core; one on a GPU]"),
]
Shard = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Measure the I-th of N parts alone, from 1: for N jobs that share --out.",
        show_default=False,
    ),
]
Merge = Annotated[
    bool, typer.Option("--merge", help="Measure nothing: join what is in --out, and say what is missing.")
]
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Measure on a Ray cluster: auto, HOST:PORT or ray://HOST:PORT. Needs energydiag[ray].",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class How:
    """What the user says of where checkpoints are measured and kept; the fields are options of `inspect_many`."""

    out: Path | None = None
    workers: int | None = None
    shard: tuple[int, int] | None = None
    merge: bool = False
    ray: str | None = None

    def options(self) -> dict[str, Any]:
        """For the pipeline."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def sole(self, given: Sequence[Path]) -> Path | None:
        """The one checkpoint that is meant, where it is to be told of as one; None where a table is asked for.

        Raises:
            UnreadableFile: A folder holds no checkpoint.
        """
        if len(given) != 1 or self != How(workers=self.workers):
            return None
        from energydiag.checkpoints.listing import is_pattern, list_checkpoints

        only = given[0]
        if is_pattern(only) or (only.is_dir() and list_checkpoints([only]) != (only,)):
            return None
        return only


_LONGEST_NUMBER = 9


def part_of(shard: str | None) -> tuple[int, int] | None:
    """``I/N`` as numbers.

    Raises:
        UsageError: It is something else.
    """
    if shard is None:
        return None
    index, _, count = shard.partition("/")
    if max(len(index), len(count)) > _LONGEST_NUMBER or not (
        index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)
    ):
        raise UsageError(
            f"--shard is I/N with I from 1 to N, not {shard!r}.", "write, for the first of four jobs, --shard 1/4."
        )
    return int(index), int(count)


def exit_code_of_many(fleet: Fleet, fail_on: str, inconclusive_fails: bool) -> int:
    """The worst of what each of them alone would end with.

    Raises:
        EnergydiagError: Some have no result, which the end of the program tells besides.
    """
    if fleet.failed:
        from energydiag.reports.fleet_wording import failed_line, labels, listed

        first = fleet.failed[0]
        raise EnergydiagError(
            f"{failed_line(fleet)}: {listed(labels(fleet.failed))}. The first: {first.error}", first.next_step
        )
    codes = {exit_code(row.diagnosis, fail_on, inconclusive_fails) for row in fleet.rows if row.diagnosis is not None}
    return next((code for code in (1, 3) if code in codes), 0)


def next_step_of_many(fleet: Fleet, how: How, arguments: Sequence[str]) -> str | None:
    """What to type next: the whole report on the first of the worst."""
    worst = next((r for r in fleet.diagnosed if r.root is not None and r.root.severity == fleet.verdict), None)
    if worst is None:
        return None
    others = worst.diagnosis.checkpoint.energies_of if worst.diagnosis is not None else ""
    of = ["--energies-of", others] if others else []
    report = shlex.join(["energydiag", "inspect", "checkpoint", as_argument(worst.checkpoint), *arguments, *of])
    merged = "" if how.shard is None else "\n      the same command with --merge in place of --shard joins all parts"
    return f"{report}{merged}"


def as_argument(path: str) -> str:
    """A path that is not taken for an option."""
    return f"./{path}" if path.startswith("-") else path
