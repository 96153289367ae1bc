"""The numbers of a side that is one run or several: each series at each place, as far as it says something there."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from energydiag.metrics import AXIS, SERIES, Better, Metric
from energydiag.pipeline.judging_run import JudgedRun
from energydiag.pipeline.sides_of_runs import bonds, counts_negatives
from energydiag.results import Skipped
from energydiag.runs.energies import energies_of, gap_of
from energydiag.runs.limits import Limits, objective_series
from energydiag.runs.log import FloatArray, RunLog, Series
from energydiag.runs.names import LOSSES, RANKINGS
from energydiag.runs.places import Reading, at_best, at_end, at_step
from energydiag.runs.questions import REACH
from energydiag.runs.ranking import fraction
from energydiag.statistics.verdicts import Number, Start

LAST, BEST, STEP, TIME = "last", "best", "equal step", "equal time"

Places = Mapping[str, Callable[[JudgedRun], float | None]]
"""Where numbers are taken: the name of a place, and the step of it in a run (None: the end, or the best)."""

FINITE = "finite_share"
"""Share of the points that are finite among the last tenth of the loss."""

_ALL_LOSSES = (*LOSSES, "validation_loss")
_NEGATIVE, _POSITIVE, _GAP = "energy_negative", "energy_positive", "gap"
_UNTRAINED, _HARDLY_TRAINED = 0.15, 0.5
"""Shares by which the first losses of runs with the same settings may differ: of untrained models, and of models that
were trained for the first few steps (heuristics)."""

_SPACINGS = 2
"""Times its usual spacing that a series may end before the place where it is read."""


def numbers_of(
    runs: Sequence[JudgedRun], places: Places, metrics: Sequence[str] = ()
) -> tuple[list[Number], list[Skipped]]:
    """A side's numbers at every place, and the metrics that it cannot give."""
    found: list[Number] = []
    skipped: list[Skipped] = []
    for metric in (one for one in SERIES.values() if is_wanted(one.name, metrics)):
        every = [series_of(run.log, metric.name) for run in runs]
        if any(series is None for series in every):
            skipped += _missing(metric.name, every)
            continue
        for place, step_of in places.items():
            readings = [
                _reading(run, series, metric, place, step_of(run))
                for run, series in zip(runs, every, strict=True)
                if series is not None
            ]
            there = [reading for reading in readings if isinstance(reading, Reading)]
            if len(there) == len(runs):
                found.append(_number(metric, place, there, runs))
            elif place == LAST:
                skipped += [Skipped(metric.name, reason) for reason in readings if isinstance(reason, str)][:1]
    shares = (number for place in places for number in _finite_share(runs, place))
    found = [*(shares if is_wanted(FINITE, metrics) else ()), *found]
    return sorted(found, key=lambda number: list(places).index(number.at)), skipped


def _missing(name: str, every: Sequence[Series | None]) -> Iterable[Skipped]:
    without = sum(series is None for series in every)
    if without < len(every):
        yield Skipped(name, f"{without} of {len(every)} runs have no finite value of it")


def is_wanted(name: str, patterns: Sequence[str]) -> bool:
    """Whether a metric is one of these; no pattern means all."""
    return not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def series_of(log: RunLog, name: str) -> Series | None:
    """The finite points of a series that mean what its name says; None where there are none.

    Energies and their gap may follow from scores, rankings are fractions, and losses that were logged while the
    gradient was NaN are none: a trainer writes 0 for them.
    """
    if name == _GAP:
        found = gap_of(log)
    elif name in (_POSITIVE, _NEGATIVE):
        found = energies_of(log)[name == _NEGATIVE]
    else:
        found = log.finite(name)
    if not found:
        return None
    if name in RANKINGS:
        return fraction(found)
    return _unmasked(found, log) or None if name in LOSSES else found


def _masked_steps(log: RunLog) -> FloatArray:
    """Steps at which the gradient norm is NaN: so was the loss, whatever was logged."""
    norm = log.series.get("gradient_norm")
    return np.empty(0) if norm is None else norm.step[np.isnan(norm.value)]


def _unmasked(series: Series, log: RunLog) -> Series:
    kept = ~np.isin(series.step, _masked_steps(log))
    return series if kept.all() else Series(series.step[kept], series.value[kept])


def _reading(run: JudgedRun, series: Series, metric: Metric, place: str, step: float | None) -> Reading | str | None:
    """The series at a place; why not, where it ends before; None where it begins later or has no best."""
    if place == BEST:
        better = _direction(metric, run.limits)[0]
        return None if better == "none" else at_best(series, higher=better == "higher")
    if place != LAST and step is None:
        return None
    reading = at_end(series) if step is None else at_step(series, step)
    until = run.last_step if step is None else min(step, run.last_step)
    return reading if reading is None else _stale(run, series, metric.name, reading.step, until) or reading


def _stale(run: JudgedRun, series: Series, name: str, last: float, until: float) -> str:
    """Why the last value before a step does not stand for it; empty where it does."""
    spacing = float(np.median(np.diff(series.step))) if len(series) > 1 else 0.0
    allowed = max((1 - REACH) * (until - run.first_step), _SPACINGS * spacing)
    if until - last > allowed or (name in _ALL_LOSSES and _ends_in_nan(run.log, name, last, until)):
        return f"its last finite value is at {run.log.axis} {last:.10g}, and the run goes on to {until:.10g}"
    return ""


def _ends_in_nan(log: RunLog, name: str, last: float, until: float) -> bool:
    """Whether a loss was logged after its last finite value, and was none."""
    steps = log.series[name].step
    return bool(((steps > last) & (steps <= until)).any())


def _direction(metric: Metric, limits: Limits) -> tuple[Better, str]:
    """Which direction of a series is good for a run of this objective, and why neither is, where it is so."""
    better = metric.better or "none"
    objective = limits.objective.objective
    if metric.name in _ALL_LOSSES and not objective.loss_improves:
        return "none", f"the loss of {objective.title} has no direction: {objective.improved}"
    if metric.name in _ALL_LOSSES and objective.silent_above_chance and limits.chance is None:
        told = f"the loss of {objective.title} has no direction where the batch size is not known (--batch-size)"
        return "none", f"{told}: {objective.improved}"
    if metric.name == _GAP and not objective.gap_improves:
        return "none", f"the gap of {objective.title} has no direction: {objective.improved}"
    return better, ""


def _number(metric: Metric, place: str, readings: Sequence[Reading], runs: Sequence[JudgedRun]) -> Number:
    values = np.array([reading.value for reading in readings])
    own = {key: known for key, known in bonds(runs[0]).items() if key in (AXIS, *(metric.bound_to or ()))}
    better, reason = _direction(metric, runs[0].limits)
    if better == "none" or metric.min_effect is None:
        return Number(metric.name, float(values.mean()), "none", at=place, bound_to=own, reason=reason)
    if metric.name in _ALL_LOSSES:
        values, reason = _down_from_chance(values, runs[0].limits)
    value = float(values.mean())
    if len(values) > 1:
        error, freedom = float(values.std(ddof=1)) / math.sqrt(len(values)), len(values) - 1.0
    else:
        error, freedom = math.hypot(metric.scaled(metric.seeds, value), readings[0].error or 0.0), math.inf
    return Number(
        metric.name,
        value,
        better,
        metric.scaled(metric.min_effect, value),
        place,
        error=error,
        freedom=freedom,
        bound_to=own,
        start=_start(runs[0]) if metric.name in _ALL_LOSSES else None,
        reason=reason,
    )


def _down_from_chance(values: FloatArray, limits: Limits) -> tuple[FloatArray, str]:
    """Losses, cut at chance where what lies above says nothing, and that in words."""
    objective, chance = limits.objective.objective, limits.chance
    if not objective.silent_above_chance or chance is None or not (values > chance.value).any():
        return values, ""
    told = f"cut at {chance.value:.4g} ({chance.formula}): {objective.improved}"
    return np.minimum(values, chance.value), told


def _start(run: JudgedRun) -> Start | None:
    """How the loss began, where the log holds that and its level may depend on what is not known."""
    objective, series = run.limits.objective, objective_series(run.log)
    if series is None or not np.isfinite(series.value[0]) or not run.limits.from_start:
        return None
    if objective.is_known and not counts_negatives(objective):
        return None
    is_untrained = series.step[0] <= {"step": 1, "epoch": 0, "row": -1}[run.log.axis]
    return Start(float(series.value[0]), _UNTRAINED if is_untrained else _HARDLY_TRAINED)


def _finite_share(runs: Sequence[JudgedRun], place: str) -> Iterable[Number]:
    """A run that ended in NaN is worse than one that did not, and no mean says so."""
    if place not in (LAST, STEP):
        return
    shares = []
    for run in runs:
        series = objective_series(run.log)
        if series is None:
            return
        late = slice(-max(1, len(series) // 10), None)
        finite = np.isfinite(series.value[late]) & ~np.isin(series.step[late], _masked_steps(run.log))
        shares.append(float(finite.mean()))
    yield Number(FINITE, float(np.mean(shares)), "higher", 0.01, place, error=0.0)
