"""Curves of runs with what lies around them, for figures."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from energydiag.metrics import SERIES
from energydiag.pipeline.numbers_of_runs import series_of
from energydiag.pipeline.sides_of_runs import Group
from energydiag.results import Band
from energydiag.runs.log import FloatArray, Series

_BINS = 200
"""Points of a band; no figure shows more."""

_FEWEST_BINS = 20
"""Points of a band, where the run has as many; beyond that five are taken together, so that they show their scatter."""

_MOST_POINTS = (0.05, 0.95)
"""Between which quantiles of neighbouring points a band lies."""


def bands(groups: Sequence[Group]) -> Iterator[Band]:
    """Of every series that has a direction, one for each side that has it."""
    for name in (metric.name for metric in SERIES.values() if metric.better != "none"):
        for group in groups:
            own = [found for run in group.runs if (found := series_of(run.log, name)) is not None]
            if own:
                yield _band(name, group.name, own)


def _band(name: str, side: str, own: Sequence[Series]) -> Band:
    """One run: the mean of neighbouring points, and where nine of ten of them lie. Several: their mean and range."""
    low_step, high_step = min(float(s.step[0]) for s in own), max(float(s.step[-1]) for s in own)
    longest = max(len(series) for series in own)
    count = min(_BINS, longest, max(_FEWEST_BINS, longest // 5))
    edges = np.linspace(low_step, high_step, count + 1)
    if len(own) > 1:
        means = np.stack([_in_bins(series, edges, np.mean) for series in own])
        kept = np.isfinite(means).all(axis=0)
        middle, low, high = means.mean(axis=0), means.min(axis=0), means.max(axis=0)
    else:
        middle = _in_bins(own[0], edges, np.mean)
        low, high = (_in_bins(own[0], edges, functools.partial(np.quantile, q=share)) for share in _MOST_POINTS)
        kept = np.isfinite(middle)
    middle_steps = (edges[:-1] + edges[1:]) / 2
    columns = (middle_steps[kept], middle[kept], low[kept], high[kept])
    x, y, lower, upper = (tuple(float(f"{value:.6g}") for value in column) for column in columns)
    return Band(name, side, x, y, lower, upper)


def _in_bins(series: Series, edges: FloatArray, statistic: Callable[[FloatArray], float]) -> FloatArray:
    """Of the points of every bin; NaN for an empty one."""
    places = np.searchsorted(series.step, edges)
    places[-1] = len(series)
    return np.array(
        [
            statistic(series.value[start:end]) if end > start else np.nan
            for start, end in itertools.pairwise(places.tolist())
        ]
    )
