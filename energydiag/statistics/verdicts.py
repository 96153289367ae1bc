"""From the numbers of two or more sides to what differs: intervals, a correction for many metrics, verdicts.

A metric's difference has an interval by one of three ways, the first that its numbers allow:

* **paired**: both sides were measured on the same samples, and resampled with the same draws of episodes. The
  difference, draw by draw, is the bootstrap of the difference (Davison and Hinkley 1997, §4.4.1).
* **seeds**: each side is several runs. Welch's interval for the difference of two means (Welch 1947).
* **errors**: each side is one number with a standard error of its own.

A difference counts where Holm's method (1979), over all metrics that have a direction and all sides, leaves less than
one chance in twenty, and where it is as large as the smallest that matters. The p-value is that of the estimate over
its standard error under Student's t; a bootstrap's own smallest p-value, one over the draws, would drown in the
correction.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from energydiag.metrics import EITHER, NEGATIVES, Better, direction, metric, smallest_change
from energydiag.results import Changes, CheckpointDiagnosis, Measurement
from energydiag.results.changes import NO_DIRECTION, MetricChange, overall
from energydiag.statistics.intervals import FloatArray
from energydiag.statistics.tests import holm, student_chance, student_quantile

_BEYOND_ONE_ERROR = 0.317
"""Chance of a normal deviate beyond one standard error, on both sides."""

LEVEL = 0.05
"""Chance of calling a difference that is none, over all metrics together."""

_NO_ERROR = "one number a side, without an interval; give runs with other seeds and --group-by seed"


class Start(NamedTuple):
    """How a loss began.

    Attributes:
        value: The first one.
        within: Share by which it may differ from another run's first one where their settings are the same.
    """

    value: float
    within: float


@dataclass(frozen=True)
class Number:
    """A metric of one side.

    Attributes:
        name: Of the metric.
        value: The number.
        better: Which direction is good.
        matters: The smallest change that matters, in the metric's unit, or None where it has no direction.
        at: Where in a run it was taken, in words.
        draws: Its bootstrap values, for sides that were measured on the same samples.
        error: Its standard error, where there are no draws to pair; None where it is not known.
        freedom: Degrees of freedom of the error, or of the draws: one less than the runs, or the episodes.
        bound_to: What has to be the same on both sides for the number to mean the same, by name, where it is known.
        start: How the loss began, for one whose level is not known otherwise.
        reason: Why the number has no direction although its metric has one, or how it was changed; empty elsewhere.
    """

    name: str
    value: float
    better: Better
    matters: float | None = None
    at: str = ""
    draws: FloatArray | None = field(default=None, repr=False, compare=False)
    error: float | None = None
    freedom: float = math.inf
    bound_to: Mapping[str, str] = field(default_factory=dict)
    start: Start | None = None
    reason: str = ""


def number_of(measurement: Measurement, freedom: float, known: Mapping[str, str] | None = None) -> Number:
    """A measurement as a side's number.

    Args:
        measurement: With its draws, where it was made in this process.
        freedom: See `Number`.
        known: What a number may be bound to, by name.
    """
    own = known or {}
    return Number(
        measurement.name,
        measurement.value,
        direction(measurement.name),
        smallest_change(measurement.name, measurement.value),
        draws=measurement.draws,
        error=_error(measurement),
        freedom=freedom,
        bound_to={key: own[key] for key in metric(measurement.name).bound_to or () if key in own},
    )


def _error(measurement: Measurement) -> float | None:
    """Standard error, for a comparison without pairs: of an interval that has two normal quantiles on each side."""
    if measurement.ci95 is None:  # too few episodes; or no average at all, as the slope of a linear head
        return None if measurement.unsure else 0.0
    return (measurement.ci95[1] - measurement.ci95[0]) / (2 * 1.959964)


def compare(
    first: CheckpointDiagnosis, second: CheckpointDiagnosis, sides: tuple[str, str], names: Iterable[str]
) -> Changes:
    """Second against first on the same samples, over the metrics of these names that both have.

    Args:
        first: A diagnosis with its draws.
        second: Another one, made on the same samples with the same seed.
        sides: What they are called.
        names: Which metrics; the more, the stricter.
    """
    rows = changes(dict(zip(sides, _numbers((first, second), names), strict=True)))
    return Changes(sides, overall(rows), rows)


def fallen(first: CheckpointDiagnosis, second: CheckpointDiagnosis, names: Iterable[str]) -> tuple[str, ...]:
    """Names of the metrics in which the second side is worse, by a laxer standard than `compare` has.

    Worse by more than the smallest change that matters and by more than one standard error of the difference, without a
    correction: what is wanted is a warning, not a proof, and a few samples prove little.

    Args:
        first: As for `compare`.
        second: Likewise.
        names: Which metrics.
    """
    ours, theirs = _numbers((first, second), names)
    rows = [_change(one, other, ("first", "second")) for one, other in zip(ours, theirs, strict=True)]
    return tuple(row.name for row in rows if _lost(row) > (row.matters or 0.0) and (row.p or 0.0) < _BEYOND_ONE_ERROR)


def _lost(row: MetricChange) -> float:
    return -row.delta if row.better == "higher" else row.delta if row.better == "lower" else 0.0


def _numbers(sides: Iterable[CheckpointDiagnosis], names: Iterable[str]) -> Iterable[list[Number]]:
    """The numbers of each side that all of them have."""
    every = [({m.name: m for m in side.measurements}, side.batch.freedom) for side in sides]
    wanted = [name for name in names if all(name in by_name for by_name, _ in every)]
    return [[number_of(by_name[name], freedom) for name in wanted] for by_name, freedom in every]


def changes(numbers: Mapping[str, Sequence[Number]]) -> tuple[MetricChange, ...]:
    """Each other side against the first, metric by metric and place by place, in the first side's order.

    Args:
        numbers: By side.
    """
    (first, of_first), *others = numbers.items()
    rows = [
        _change(one, other, (first, name))
        for one in of_first
        for name, theirs in others
        for other in theirs
        if (other.name, other.at) == (one.name, one.at)
    ]
    return tuple(row for place in dict.fromkeys(r.at for r in rows) for row in _corrected(rows, place))


def _corrected(rows: Sequence[MetricChange], place: str) -> Iterable[MetricChange]:
    """The rows of one place, with corrected p-values and what they say."""
    here = [row for row in rows if row.at == place]
    tested = [row for row in here if row.better != "none" and row.p is not None]
    corrected = dict(zip(map(id, tested), holm([row.p or 0.0 for row in tested]), strict=True))
    return [_judged(row, corrected.get(id(row))) for row in here]


def _change(one: Number, other: Number, sides: tuple[str, str]) -> MetricChange:
    delta = other.value - one.value
    row = MetricChange(
        one.name,
        dict(zip(sides, (one.value, other.value), strict=True)),
        delta,
        None,
        one.better,
        "incomparable",
        at=one.at,
        matters=_matters(one, other),
        reason=one.reason or other.reason,
    )
    apart = _apart(one, other)
    if apart or "none" in (one.better, other.better):
        return replace(row, better="none", matters=None, reason=apart or row.reason or NO_DIRECTION)
    interval, error, freedom = _spread(one, other, delta)
    if error is None or interval is None:
        return replace(row, reason=_NO_ERROR)
    return replace(row, ci95=interval, p=student_chance(delta, error, freedom))


def _matters(one: Number, other: Number) -> float | None:
    """The mean of what matters on both sides, so that either order of them says the same."""
    return None if one.matters is None or other.matters is None else (one.matters + other.matters) / 2


def _apart(one: Number, other: Number) -> str:
    """What the two numbers are bound to and is not the same, in words; empty where nothing is."""
    unlike = [name for name, value in one.bound_to.items() if not _alike(value, other.bound_to.get(name, value))]
    if unlike:
        return ", ".join(f"{name} is {one.bound_to[name]} here and {other.bound_to[name]} there" for name in unlike)
    if one.start is None or other.start is None or {NEGATIVES} <= one.bound_to.keys() & other.bound_to.keys():
        return ""
    here, there = one.start.value, other.start.value
    if abs(here - there) <= max(one.start.within, other.start.within) * max(abs(here), abs(there)):
        return ""
    return (
        f"the losses begin at {here:.3g} here and {there:.3g} there: the objectives, the numbers of negatives or the "
        "scales are not the same"
    )


def _alike(value: str, other: str) -> bool:
    """Whether both can be the same; each may be one of several."""
    return bool(set(value.split(EITHER)) & set(other.split(EITHER)))


def _spread(one: Number, other: Number, delta: float) -> tuple[tuple[float, float] | None, float | None, float]:
    """The interval of a difference, its standard error and the degrees of freedom of that."""
    drawn = _paired(one, other)
    if drawn is not None:
        low, high = np.percentile(drawn, [2.5, 97.5])
        freedom = min(one.freedom, other.freedom)
        # resampling G episodes shows a variance of (G − 1) / G (Davison and Hinkley 1997, §2.3)
        return (float(low), float(high)), float(drawn.std()) * math.sqrt(1 + 1 / freedom), freedom
    if one.error is None or other.error is None:
        return None, None, math.inf
    squares = one.error**2, other.error**2
    error = math.sqrt(sum(squares))
    parts = sum(square**2 / n.freedom for square, n in zip(squares, (one, other), strict=True))
    freedom = error**4 / parts if parts > 0 else math.inf
    half = student_quantile(0.975, freedom) * error
    return (delta - half, delta + half), error, freedom


def _paired(one: Number, other: Number) -> FloatArray | None:
    """The bootstrap of the difference, where both sides were drawn alike, or one of them is known without an error."""
    if one.draws is None and other.draws is None:
        return None
    ours = np.full(1, one.value) if one.draws is None and one.error == 0 else one.draws
    theirs = np.full(1, other.value) if other.draws is None and other.error == 0 else other.draws
    if ours is None or theirs is None or len({len(ours), len(theirs)} - {1}) > 1:
        return None
    return theirs - ours


def _judged(row: MetricChange, p: float | None) -> MetricChange:
    """The row with its verdict: what the corrected p-value, the interval and the smallest change that matters say."""
    if row.better == "none" or row.matters is None:
        return row
    if p is None or row.ci95 is None:
        same = row.delta == 0 and row.reason != _NO_ERROR
        return replace(row, verdict="unchanged" if same else "inconclusive", p=None)
    sign = 1 if row.better == "higher" else -1
    if p < LEVEL and abs(row.delta) >= row.matters:
        return replace(row, p=p, verdict="improved" if sign * row.delta > 0 else "regressed")
    within = -row.matters < row.ci95[0] and row.ci95[1] < row.matters
    return replace(row, p=p, verdict="unchanged" if within else "inconclusive")
