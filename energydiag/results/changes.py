"""What changed between two measurements of the same samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from energydiag.metrics import Better

Change = Literal["improved", "regressed", "mixed", "unchanged", "inconclusive", "incomparable"]

_SIDES = 2

NO_DIRECTION = "neither direction is better"
"""The reason of a change that is shown without a verdict."""


@dataclass(frozen=True)
class MetricChange:
    """One number, on both sides.

    Attributes:
        name: Of the measurement.
        values: By side.
        delta: Second minus first.
        ci95: 95 % interval of the delta, paired over the same resampled episodes; None where there is none.
        better: Which direction is good; ``"none"`` where the number means nothing across heads or temperatures.
        verdict: What the interval says, given the smallest effect that matters.
        at: Where in a run both were taken, in words; empty where there is one place only.
        p: Chance of so large a difference where there is none, corrected for the number of metrics by Holm's method;
            None where no correction was asked for or no interval is known.
        matters: The smallest change that matters, in the metric's unit; None where it has no direction.
        reason: Why the verdict is not a plain one; empty where it is.
    """

    name: str
    values: Mapping[str, float]
    delta: float
    ci95: tuple[float, float] | None
    better: Better
    verdict: Change
    at: str = ""
    p: float | None = None
    matters: float | None = None
    reason: str = ""

    @property
    def side(self) -> str:
        """The side that is compared with the first; empty where there is none."""
        return next(reversed(list(self.values)), "")

    def check(self) -> bool:
        """Whether there are two sides."""
        return len(self.values) == _SIDES


_WORST_FIRST: tuple[Change, ...] = ("regressed", "mixed", "improved", "inconclusive", "unchanged")

WORSE: frozenset[Change] = frozenset(("regressed", "mixed"))
"""Verdicts that hold a regression."""

UNDECIDED: frozenset[Change] = frozenset(("inconclusive", "incomparable"))
"""Verdicts that say neither that a side is as good nor that it is worse."""


def of_side(rows: Iterable[MetricChange]) -> Change:
    """Of one side's rows with a direction: mixed if some improved and some regressed, else what any of them did."""
    seen = {row.verdict for row in rows if row.better != "none"}
    return "mixed" if {"improved", "regressed"} <= seen else worst(seen)


def worst(verdicts: Iterable[Change]) -> Change:
    """Of several verdicts, the one to look at first; incomparable where nothing was compared."""
    seen = set(verdicts)
    return next((one for one in _WORST_FIRST if one in seen), "incomparable")


def overall(rows: Iterable[MetricChange]) -> Change:
    """Of all sides, each by its rows: that of the worst."""
    by_side: dict[str, list[MetricChange]] = {}
    for row in rows:
        by_side.setdefault(row.side, []).append(row)
    return worst(of_side(own) for own in by_side.values())


@dataclass(frozen=True)
class Changes:
    """Two sides on the same samples.

    Attributes:
        sides: Names of first and second side.
        verdict: Over all metrics that have a direction.
        metrics: In the order of the measurements.
    """

    sides: tuple[str, str]
    verdict: Change
    metrics: tuple[MetricChange, ...]

    def metric(self, name: str) -> MetricChange | None:
        """The change of this metric, or None."""
        return next((m for m in self.metrics if m.name == name), None)
