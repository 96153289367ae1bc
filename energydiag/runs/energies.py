"""What energies did during training.

* ``run.gap.last``: mean of E₋ − E₊ over the log's end; it should be above 0. Where both energies were logged, the gap
  is taken from them, whatever sign a logged gap has.
* ``run.gap.trend``: how far it moved along a robust line over the second half of its points, over the median of |gap|
  there; below 0 it shrinks (or, inverted already, grows the wrong way).
* ``run.energy_drift``: the same for the mean level (E₊ + E₋) / 2, over the same median of |gap|. InfoNCE sees
  differences alone, so nothing in it holds the level.
* ``run.energy_scale_growth``: root mean square of both energies at the log's end over that at the middle of the log.
* ``run.energy_size.growth``, ``run.energy_size.late_growth``: median size (root mean square of both energies; else of a
  loss that may be below 0) of the last tenth of the log over that of the first, and of the tenth after the middle.

Scores (rewards, logits of pairs, f = −E) stand for energies with the other sign.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from energydiag.results import Measurement, Skipped
from energydiag.runs.family import Family, Run, measured
from energydiag.runs.log import RunLog, Series
from energydiag.runs.trends import change, last_half, mean, scaled, tail


def energies_of(log: RunLog) -> tuple[Series | None, Series | None]:
    """Energies of positives and negatives, from scores where these were logged instead."""
    found = [log.finite(f"energy_{side}") for side in ("positive", "negative")]
    scores = [log.finite(f"score_{side}") for side in ("positive", "negative")]
    if None in found and None not in scores:
        found = [Series(score.step, -score.value) for score in scores if score is not None]
    return found[0], found[1]


def gap_of(log: RunLog) -> Series | None:
    """Negative minus positive energy, where it was logged or follows from what was."""
    positive, negative = energies_of(log)
    if positive is not None and negative is not None:
        step, low, high = positive.beside(negative)
        if len(step):
            with np.errstate(over="ignore"):
                return Series(step, high - low).finite()
    return log.finite("gap")


def _measure(run: Run) -> Iterable[Measurement | Skipped]:
    gap = gap_of(run.log)
    if gap is not None and len(gap):
        late = last_half(gap)
        size = float(np.median(np.abs(late.value)))
        yield measured("run.gap.last", mean(tail(gap).value))
        if size > 0:
            moved = change(late)
            yield measured("run.gap.trend", None if moved is None else scaled(moved, 1 / size))
            yield from _level(run.log, size)
    yield from _size(run)


def _size(run: Run) -> Iterable[Measurement]:
    positive, negative = energies_of(run.log)
    if positive is not None and negative is not None:
        _, low, high = positive.beside(negative)
        size = np.sqrt((low**2 + high**2) / 2)
    elif run.limits.objective.objective.may_be_negative:
        size = np.abs(run.objective().value)
    else:
        return
    n = len(size)
    width = max(3, n // 10)
    if n < 2 * width:
        return
    start, middle, end = (
        float(np.median(part)) for part in (size[:width], size[n // 2 : n // 2 + width], size[-width:])
    )
    if start > 0 and middle > 0:
        yield Measurement.of("run.energy_size.growth", end / start, n)
        yield Measurement.of("run.energy_size.late_growth", end / middle, n)


def _level(log: RunLog, size: float) -> Iterable[Measurement | Skipped]:
    positive, negative = energies_of(log)
    if positive is None or negative is None:
        return
    step, low, high = positive.beside(negative)
    if not len(step):
        return
    level = change(last_half(Series(step, (low + high) / 2)))
    yield measured("run.energy_drift", None if level is None else scaled(level, 1 / size))
    late = last_half(Series(step, np.sqrt((low**2 + high**2) / 2)))
    start, end = (float(np.median(part)) for part in (late.value[: len(tail(late))], tail(late).value))
    if start > 0:
        yield Measurement.of("run.energy_scale_growth", end / start, len(late))


FAMILY = Family("energies", _measure)
