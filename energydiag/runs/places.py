"""What a series says at one place of a run: at its best, at its end, at a step or a time that other runs reached, too.

A single logged value is noisy, so the last tenth of the points up to the place is averaged. How far off that average
may be is judged from the scatter of the last third around a straight line, and made larger where neighbouring points
resemble each other: with lag-one correlation ρ, w points tell as much as w·(1 − ρ)/(1 + ρ) that have nothing to do
with each other (Bartlett 1935).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from energydiag.runs.log import FloatArray, Series

_AVERAGED = 0.1
_FEWEST, _MOST = 3, 1000
"""Points that are averaged, at least where the series has twice as many, and at most (guesses)."""

_SCATTER = 1 / 3
_FEW = 6
"""Points around a line that a scatter is judged from, at least."""

_STRONGEST = 0.95
"""Correlation of neighbours that is believed; a stronger one comes from a trend."""


@dataclass(frozen=True)
class Reading:
    """A series at one place.

    Attributes:
        value: Mean of the last points up to there.
        step: Where that is.
        error: Standard error of the mean by the scatter of the points; None where they are too few to tell.
        points: How many were averaged.
    """

    value: float
    step: float
    error: float | None
    points: int


def at_end(series: Series) -> Reading:
    """The last points of a series, which holds one finite point at least."""
    return _reading(series, len(series))


def at_step(series: Series, step: float) -> Reading | None:
    """The last points up to a step; None where the series begins later."""
    count = int(np.searchsorted(series.step, step, side="right"))
    return _reading(series, count) if count else None


def at_best(series: Series, *, higher: bool) -> Reading:
    """Where the average over as many points as at the end is best."""
    width = _width(len(series))
    sums = np.cumsum(np.insert(series.value, 0, 0.0))
    means = (sums[width:] - sums[:-width]) / width
    best = int(np.argmax(means) if higher else np.argmin(means))
    return _reading(series, best + width, width)


def step_at_time(seconds: Series, time: float) -> float | None:
    """The last step that was logged up to a time, or None where the first one came later."""
    count = int(np.searchsorted(np.maximum.accumulate(seconds.value), time, side="right"))
    return float(seconds.step[count - 1]) if count else None


def _width(count: int) -> int:
    return min(max(round(_AVERAGED * count), min(_FEWEST, count // 2), 1), _MOST)


def _reading(series: Series, count: int, width: int | None = None) -> Reading:
    """The mean of the last ``width`` of the first ``count`` points."""
    width = width or _width(count)
    values = series.value[count - width : count]
    near = max(width, math.ceil(_SCATTER * count), min(_FEW, count))
    error = _error(series.value[max(0, count - near) : count], width)
    return Reading(float(values.mean()), float(series.step[count - 1]), error, width)


def _error(values: FloatArray, width: int) -> float | None:
    if len(values) < _FEW:
        return None
    place = np.arange(len(values), dtype=np.float64)
    slope, start = np.polyfit(place, values, 1)
    rest = values - (start + slope * place)
    variance = float(rest @ rest) / (len(rest) - 2)
    if variance == 0:
        return 0.0
    likeness = float(rest[1:] @ rest[:-1]) / float(rest @ rest)
    likeness = min(max(likeness, 0.0), _STRONGEST)
    return math.sqrt(variance / width * (1 + likeness) / (1 - likeness))
