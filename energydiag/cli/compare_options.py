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
    """1 at a regression, or with limits at a broken one or a broken run; 3 at a doubt, if that is asked for."""
    if compared.limits:
        worse = any(limit.verdict == "broken" for limit in compared.limits)
        worse = worse or any(one.verdict == "regressed" and one.reason for one in compared.outcomes)
    else:
        worse = compared.verdict in ("regressed", "mixed")
    if worse:
        return 1
    return 3 if inconclusive_fails and doubt(compared) else 0


def doubt(compared: Comparison) -> str:
    """What the comparison leaves open, in words; empty where it leaves nothing."""
    if compared.limits:
        unclear = [limit.metric for limit in compared.limits if limit.verdict == "unclear"]
        if unclear:
            return f"whether the limit of {', '.join(dict.fromkeys(unclear))} is kept to is unclear"
        undecided = [one.side for one in compared.outcomes if one.verdict == "inconclusive" and one.reason]
    else:
        undecided = list(compared.undecided)
    first = compared.sides[0].name
    return f"whether {' or '.join(undecided)} is as good as {first} is not known" if undecided else ""
