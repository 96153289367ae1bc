"""How much there is to judge from, whether it is whole, and where it stopped being numbers.

* ``run.steps``, ``run.first_step``: the last and the first step that were logged.
* ``run.points``: steps at which a finite loss was logged.
* ``run.objective.reach``: the part of the logged steps that the loss reaches to; below 1 where it ends before others.
* ``run.left_out``: share of the rows with a loss that were left out: without a step, or with one that is another row's.
* ``run.nonfinite``: steps at which a loss or the gradient norm is NaN or infinite.
* ``run.nonfinite.at_end``: how many of the last steps are so, without a good one between them. A trainer may leave
  NaN out of the loss that it logs: a NaN gradient norm, or an infinite one three times in a row, counts as well.
* ``run.nonfinite.masked``: steps with a NaN gradient norm beside a finite loss.
* ``run.last_finite_step``: the last logged step before the first of them; the last step where there is none.
* ``run.nonfinite.loss_growth``, ``run.nonfinite.norm_growth``: median of the last three values before that over the
  median of up to fifty before those, in absolute values.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from energydiag.results import Measurement
from energydiag.runs.family import Family, Run
from energydiag.runs.limits import objective_series
from energydiag.runs.log import NOTHING, FloatArray, Series
from energydiag.runs.names import LOSSES

_WATCHED = (*LOSSES, "initial_loss", "validation_loss", "gradient_norm")
_IN_A_ROW = 3
"""Infinite gradient norms that are no accident of loss scaling, which skips such a step (heuristic)."""

_BEFORE, _USUAL = 3, 50
"""Points just before the first that is not finite, and points that they are compared with."""


def _measure(run: Run) -> Iterable[Measurement]:
    log = run.log
    watched = [log.series[name] for name in _WATCHED if name in log.series]
    every = [series.step for name, series in log.series.items() if name != "seconds"]
    last = float(max(steps[-1] for steps in every))
    first = float(min(steps[0] for steps in every))
    objective = objective_series(log) or NOTHING
    finite = objective.finite()
    yield Measurement.of("run.steps", last, max(map(len, every)))
    yield Measurement.of("run.first_step", first, 1)
    if len(objective):
        yield Measurement.of("run.points", float(len(finite)), len(objective))
    if len(finite) and last > first:
        yield Measurement.of(
            "run.objective.reach", (float(objective.step[-1]) - first) / (last - first), len(objective)
        )
    if log.left_out:
        yield Measurement.of("run.left_out", log.left_out / (log.left_out + len(objective)), len(objective))
    if not watched:
        return
    steps = np.unique(np.concatenate([series.step for series in watched]))
    bad = np.unique(np.concatenate([series.step[~np.isfinite(series.value)] for series in watched]))
    good = steps[steps < bad[0]] if len(bad) else steps
    yield Measurement.of("run.nonfinite", float(len(bad)), len(steps))
    yield Measurement.of("run.nonfinite.at_end", float(_at_end(run, objective)), len(steps))
    if len(good):
        yield Measurement.of("run.last_finite_step", float(good[-1]), len(steps))
    norm = log.series.get("gradient_norm", NOTHING)
    masked = np.intersect1d(norm.step[np.isnan(norm.value)], finite.step)
    if len(masked):
        yield Measurement.of("run.nonfinite.masked", float(len(masked)), len(norm))
    if len(bad):
        yield from _growth("run.nonfinite.loss_growth", objective, float(bad[0]))
        yield from _growth("run.nonfinite.norm_growth", norm, float(bad[0]))


def _at_end(run: Run, objective: Series) -> int:
    """Steps at the end that are not finite, by the loss or by the gradient norm."""
    lost = _trailing(~np.isfinite(objective.value))
    norm = run.log.series.get("gradient_norm", NOTHING)
    nan, infinite = _trailing(np.isnan(norm.value)), _trailing(~np.isfinite(norm.value))
    return max(lost, nan, infinite if infinite >= _IN_A_ROW else 0)


def _trailing(flags: NDArray[np.bool_]) -> int:
    """How many of the last ones are true."""
    false = np.flatnonzero(~flags)
    return len(flags) - 1 - int(false[-1]) if len(false) else len(flags)


def _growth(name: str, series: Series, until: float) -> Iterable[Measurement]:
    before: FloatArray = np.abs(series.finite().value[series.finite().step < until])
    near, usual = before[-_BEFORE:], before[-_USUAL - _BEFORE : -_BEFORE]
    if len(usual) >= _BEFORE and float(np.median(usual)) > 0:
        yield Measurement.of(name, float(np.median(near) / np.median(usual)), len(before))


FAMILY = Family("length", _measure)
