"""What the optimiser did.

* ``run.gradient.norm.last``, ``run.gradient.norm.median``, ``run.gradient.norm.max``: before clipping. "Last" is the
  median over the log's end, since a mean would follow single batches.
* ``run.gradient.zeros``: share of the points whose norm is exactly 0.
* ``run.gradient.growth``: that median over the median of all earlier points.
* ``run.gradient.growth_from_start``: the same median over the first norm.
* ``run.gradient.rises``: share of the pairs of neighbours in the log of which the later norm is not the smaller one.
  Gradients that add up from step to step come near 1, others lie about a half. Left out where a norm is 0.
* ``run.clipping_share``: share of the log's points whose gradient was longer than the limit (logged beside it, or set
  in the run's settings), or that a logged flag says were clipped; ``run.clipping_factor``: median of norm over limit.
* ``run.update_ratio.median``: of ‖Δw‖ / ‖w‖ per step, as logged. About 1e-3 is usual (Karpathy, CS231n, "ratio of
  weights:updates"). ``run.update_ratio.first`` is the first one that was logged.
* ``run.weight_norm.change``: largest |‖w‖ / ‖w₀‖ − 1| over the run; 0 where nothing moved.
* ``run.weight_norm.last``: the last ‖w‖ over ‖w₀‖.
* ``run.learning_rate.peak``, and ``run.learning_rate.warmup``: the first rate over it. ``run.learning_rate.peak_at``:
  the share of the logged steps that had passed when the rate first came within a thousandth of its peak.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from energydiag.results import Measurement, Skipped
from energydiag.runs.family import Family, Run, measured
from energydiag.runs.log import FloatArray, Series
from energydiag.runs.trends import share, tail


def _measure(run: Run) -> Iterable[Measurement | Skipped]:
    norm = run.log.finite("gradient_norm")
    if norm is not None:
        yield from _gradients(norm)
    yield from _clipping(run, norm)
    ratio = run.log.finite("update_ratio")
    if ratio is not None:
        yield Measurement.of("run.update_ratio.median", float(np.median(ratio.value)), len(ratio))
        yield Measurement.of("run.update_ratio.first", float(ratio.value[0]), 1)
    weight = run.log.finite("weight_norm")
    if weight is not None and len(weight) > 1 and weight.value[0]:
        moved = float(np.abs(weight.value / weight.value[0] - 1).max())
        yield Measurement.of("run.weight_norm.change", moved, len(weight))
        yield Measurement.of("run.weight_norm.last", float(weight.value[-1] / weight.value[0]), len(weight))
    rate = run.log.finite("learning_rate")
    if rate is not None:
        peak = float(rate.value.max())
        yield Measurement.of("run.learning_rate.peak", peak, len(rate))
        if peak > 0:
            yield Measurement.of("run.learning_rate.warmup", float(rate.value[0]) / peak, len(rate))
            steps = rate.step - rate.step[0]
            if steps[-1] > 0:
                reached = float(steps[int((rate.value >= 0.999 * peak).argmax())] / steps[-1])
                yield Measurement.of("run.learning_rate.peak_at", reached, len(rate))


def _gradients(norm: Series) -> Iterable[Measurement]:
    n, end = len(norm), tail(norm)
    last = float(np.median(end.value))
    yield Measurement.of("run.gradient.norm.last", last, len(end))
    yield Measurement.of("run.gradient.norm.median", float(np.median(norm.value)), n)
    yield Measurement.of("run.gradient.norm.max", float(norm.value.max()), n)
    yield Measurement.of("run.gradient.zeros", float((norm.value == 0).mean()), n)
    before = norm.value[: n - len(end)]
    if len(before) and float(np.median(before)) > 0:
        yield Measurement.of("run.gradient.growth", last / float(np.median(before)), n)
    if n > 1 and (norm.value > 0).all():
        yield Measurement.of("run.gradient.growth_from_start", last / float(norm.value[0]), n)
        yield Measurement.of("run.gradient.rises", float((np.diff(norm.value) >= 0).mean()), n - 1)


def _clipping(run: Run, norm: Series | None) -> Iterable[Measurement | Skipped]:
    ratio = _over_limit(run, norm)
    if ratio is not None and len(ratio):
        yield Measurement.of("run.clipping_factor", float(np.median(ratio)), len(ratio))
    flags = run.log.finite("clipped")
    if flags is not None:
        yield measured("run.clipping_share", share(flags.value > 0))
    elif ratio is not None and len(ratio):
        yield measured("run.clipping_share", share(ratio > 1))


def _over_limit(run: Run, norm: Series | None) -> FloatArray | None:
    """Norm over limit, or None where no limit is known; an infinite one clips nothing."""
    if norm is None:
        return None
    logged = run.log.series.get("clip_norm")
    if logged is not None:
        _, value, limit = norm.beside(logged)
        known = limit > 0  # neither NaN nor a code for "none"
        return value[known] / limit[known] if np.isfinite(limit[known]).any() else None
    return None if run.limits.clip_norm is None else norm.value / run.limits.clip_norm


FAMILY = Family("optimisation", _measure)
