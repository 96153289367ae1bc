"""What energies did during training.

* ``run.gap.last``: mean of E₋ − E₊ over the log's end; it should be above 0. Where both energies were logged, the gap
  is taken from them, whatever sign a logged gap has.
* ``run.gap.trend``: how far it moved along a robust line over the second half of its points, over the median of |gap|
  there; below 0 it shrinks (or, inverted already, grows the wrong way).
* ``run.energy_drift``: the same for the mean level (E₊ + E₋) / 2, over the same median of |gap|. InfoNCE sees
  differences alone, so nothing in it holds the level.
* ``run.energy_scale_growth``: root mean square of both energies at the log's end over that at the middle of the log.
* ``run.auroc.last``, ``run.top1.last``, ``run.saturation.last``: means over the log's end.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from energydiag.results import Measurement, Skipped
from energydiag.runs.family import Family, Run, measured
from energydiag.runs.log import RunLog, Series
from energydiag.runs.trends import change, last_half, mean, scaled, tail


def gap_of(log: RunLog) -> Series | None:
    """Negative minus positive energy, where it was logged or follows from what was."""
    positive, negative = log.finite("energy_positive"), log.finite("energy_negative")
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
    for name in ("auroc", "top1", "saturation"):
        series = run.log.finite(name)
        if series is not None:
            yield measured(f"run.{name}.last", mean(tail(series).value))


def _level(log: RunLog, size: float) -> Iterable[Measurement | Skipped]:
    positive, negative = log.finite("energy_positive"), log.finite("energy_negative")
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
