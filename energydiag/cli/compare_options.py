"""Options that both ``compare`` commands have, and what they do with a comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from energydiag.errors import UsageError

if TYPE_CHECKING:
    from energydiag.results import Comparison, MetricChange


class Sort(str, Enum):
    """By what the rows of a comparison are ordered."""

    given = "given"
    name = "name"
    change = "change"
    chance = "chance"


Metrics = Annotated[
    list[str] | None,
    typer.Option("--metric", help="Compare only these metrics: a name or a pattern, as in 'auroc.*'; repeatable."),
]
Limits = Annotated[
    list[str] | None,
    typer.Option(
        "--max-regression",
        help="METRIC=5% or METRIC=0.01: exit with 1 where a side is worse than the first by more, and by more than "
        "chance. With it, other metrics do not decide. Repeatable.",
    ),
]
BaselineFile = Annotated[
    Path | None,
    typer.Option("--baseline", help="Known state to compare with, as --save-baseline wrote it.", show_default=False),
]
SaveBaseline = Annotated[
    Path | None,
    typer.Option("--save-baseline", help="File to keep the last side in as a known state.", show_default=False),
]
SortBy = Annotated[Sort, typer.Option("--sort", help="Order of the rows.")]
Details = Annotated[bool, typer.Option("--details", help="Show also what has not changed.")]
InconclusiveFails = Annotated[
    bool, typer.Option("--inconclusive-fails", help="Exit with 3 where it cannot be told whether something changed.")
]


def limits_of(pairs: Sequence[str] | None) -> dict[str, str]:
    """``METRIC=LIMIT`` pairs by metric.

    Raises:
        UsageError: One is something else, or a metric is named twice.
    """
    found: dict[str, str] = {}
    for pair in pairs or ():
        name, separator, limit = pair.rpartition("=")
        if not (separator and name and limit):
            raise UsageError(
                f"--max-regression is METRIC=LIMIT, not {pair!r}.", "write, for example, --max-regression auroc=5%."
            )
        if name in found:
            raise UsageError(f"--max-regression names {name} twice.", "give every metric one limit.")
        found[name] = limit
    return found


def sorted_by(compared: Comparison, order: Sort) -> Comparison:
    """The same comparison with its rows in this order."""
    from dataclasses import replace

    if order is Sort.given:
        return compared
    keys: dict[Sort, Callable[[MetricChange], Any]] = {
        Sort.name: lambda row: row.name,
        Sort.change: lambda row: -abs(row.delta) / row.matters if row.matters else 0.0,
        Sort.chance: lambda row: 2.0 if row.p is None else row.p,
    }
    return replace(compared, metrics=tuple(sorted(compared.metrics, key=keys[order])))


def exit_code(compared: Comparison, inconclusive_fails: bool) -> int:
    """1 at a regression, or where limits were given at a broken one; 3 where that is asked for and nothing is sure."""
    if compared.limits:
        verdicts = {limit.verdict for limit in compared.limits}
        if "broken" in verdicts:
            return 1
        return 3 if inconclusive_fails and "unclear" in verdicts else 0
    if compared.verdict == "regressed":
        return 1
    return 3 if inconclusive_fails and compared.verdict in ("inconclusive", "incomparable") else 0
