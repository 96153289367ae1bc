"""The objective between chance and floor.

A model that cannot tell positives from negatives has a loss that its objective sets, such as log(1 + N) for InfoNCE
with N negatives; no weights bring it below the floor that the head's range sets (`energydiag.objectives`). Where the
objective was not logged apart, the loss is taken for it.

* ``run.objective.first``: the first one that was logged; left out where the log does not begin at the beginning.
* ``run.objective.last``, ``run.objective.chance``, ``run.objective.floor``: the mean over the log's end and its limits.
* ``run.objective.slope_last_half``: how far it moved along a robust line over the second half of its points.
* ``run.chance_gap``: (chance − last) / chance. 0: nothing learned; 1: no loss left; below 0: worse than chance.
* ``run.floor_gap``: (last − floor) / (chance − floor). 0: as low as this head lets it be; 1: nothing learned.
* ``run.objective.moved``: (largest − smallest of the running means over a tenth of the points) / |largest|: how far the
  loss ever moved, noise of single batches left aside.
* ``run.objective.late_fall``: 1 − the mean over the log's end / the median of its second tenth: what was learned after
  the mean.
* ``run.objective.constant_end``: share of the points, at the end, that are equal digit by digit.
* ``run.objective.zeros``: share of the points that are exactly 0.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from energydiag.results import Measurement, Skipped
from energydiag.runs.family import Family, Run, measured
from energydiag.runs.log import FloatArray
from energydiag.runs.trends import change, last_half, mean, scaled, tail
from energydiag.statistics import Estimate


def _measure(run: Run) -> Iterable[Measurement | Skipped]:
    series = run.objective()
    if not len(series):
        return
    last = mean(tail(series).value)
    if run.limits.from_start:
        yield Measurement.of("run.objective.first", float(series.value[0]), 1)
    yield measured("run.objective.last", last)
    yield measured("run.objective.slope_last_half", change(last_half(series)))
    yield from _shape(series.value)
    chance, floor = run.limits.chance, run.limits.floor
    if chance is None:
        return
    yield Measurement.of("run.objective.chance", chance.value, 1)
    yield measured("run.chance_gap", _shifted(scaled(last, -1 / chance.value), 1.0))
    if floor is None or floor >= chance.value:
        return
    if (last.ci95[1] if last.ci95 else last.value) < floor:
        reason = (
            f"the loss ends at {last.value:.3g}, below the floor of {floor:.3g} for {', '.join(run.limits.facts)}: "
            "one of these was not the run's"
        )
        yield Skipped("run.floor_gap", reason)
        return
    yield Measurement.of("run.objective.floor", floor, 1)
    unit = chance.value - floor
    yield measured("run.floor_gap", _shifted(scaled(last, 1 / unit), -floor / unit))


def _shape(value: FloatArray) -> Iterable[Measurement]:
    n = len(value)
    width = max(1, n // 10)
    sums = np.cumsum(np.insert(value, 0, 0.0))
    running = (sums[width:] - sums[:-width]) / width
    largest = float(np.abs(running).max())
    moved = float(running.max() - running.min()) / largest if largest > 0 else 0.0
    yield Measurement.of("run.objective.moved", moved, n)
    early = float(np.median(value[width : 2 * width])) if n >= 20 else 0.0
    if early > 0:
        yield Measurement.of("run.objective.late_fall", 1 - float(value[-width:].mean()) / early, n)
    different = np.flatnonzero(value != value[-1])
    constant = n - 1 - int(different[-1]) if len(different) else n
    yield Measurement.of("run.objective.constant_end", constant / n, n)
    yield Measurement.of("run.objective.zeros", float((value == 0).mean()), n)


def _shifted(estimate: Estimate, by: float) -> Estimate:
    ends = None if estimate.ci95 is None else (estimate.ci95[0] + by, estimate.ci95[1] + by)
    return Estimate(estimate.value + by, ends, estimate.n)


FAMILY = Family("objective", _measure)
