"""Bootstrap intervals for means, ratios of means and quantiles, resampled by episode.

Samples of one episode resemble each other, so whole episodes are drawn, with replacement (cluster bootstrap, Davison
and Hinkley 1997, §3.8). Drawing G episodes is a multinomial weight on each, so all resamples of a mean are one matrix
product. Intervals are percentiles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

RESAMPLES = 1000
"""Enough for a percentile interval (Efron and Tibshirani 1993, §13.3)."""

FEWEST_GROUPS = 4
"""Groups that an interval takes at least. Three have 10 different resamples, and the interval is all but their range;
four have 35, of which the outer 2.5 % is about one on each side."""

MOST_GROUPS = 10_000
"""Groups that are drawn one by one. Of more, some are drawn together, chosen at random: with so many of independent
groups, the variance over the resamples has a standard error of 1 %, less than that of 1000 resamples (2 %)."""

_TABLE_BYTES = 1 << 26
"""Of the weights of samples that are looked at together."""


@dataclass(frozen=True)
class Estimate:
    """A statistic of the samples.

    Attributes:
        value: Of the samples as they are.
        ci95: 95 % interval, or None where there are fewer than `FEWEST_GROUPS` groups.
        n: Number of samples.
        draws: Its values over the resamples.
    """

    value: float
    ci95: tuple[float, float] | None
    n: int
    draws: FloatArray | None = field(default=None, repr=False, compare=False)


class Resampler:
    """The same random draws of groups for every statistic of one inspection.

    Args:
        groups: Group of every sample, ``[n]`` integers.
        seed: Of the draws.
        resamples: How many.
    """

    def __init__(self, groups: NDArray[np.int64], seed: int, resamples: int = RESAMPLES) -> None:
        names, member = np.unique(groups, return_inverse=True)
        generator = np.random.default_rng(seed)
        if len(names) > MOST_GROUPS:
            member = (generator.permutation(len(names)) % MOST_GROUPS)[member]
        self._member, self._count = member, min(len(names), MOST_GROUPS)
        count = self._count
        self._weights = generator.multinomial(count, np.full(count, 1.0 / count), size=resamples).astype(np.float64)

    def mean(self, values: NDArray[np.floating]) -> Estimate:
        """Mean of ``values [n]``; samples that are not finite are left out."""
        return self.of_means(values[:, None], lambda means: means[..., 0])

    def of_means(self, columns: NDArray[np.floating], statistic: Callable[[FloatArray], FloatArray]) -> Estimate:
        """A function of the means of several columns.

        Args:
            columns: ``[n, k]``; a row with a value that is not finite is left out.
            statistic: ``[..., k]`` means to ``[...]`` values, elementwise over the leading dimensions.
        """
        data = np.asarray(columns, dtype=np.float64)
        present = np.isfinite(data).all(axis=1)
        data, member = data[present], self._member[present]
        if not len(data):
            return Estimate(float("nan"), None, 0)
        groups = self._count
        sums = np.stack([np.bincount(member, data[:, k], groups) for k in range(data.shape[1])], axis=1)
        counts = np.bincount(member, minlength=groups).astype(np.float64)
        value = float(statistic(data.mean(axis=0)))
        drawn = self._weights @ counts
        kept = drawn > 0
        with np.errstate(invalid="ignore", divide="ignore"):
            values = statistic((self._weights @ sums)[kept] / drawn[kept, None])
        return _estimate(value, values, int(np.count_nonzero(counts)), len(data), kept)

    def quantile(self, values: NDArray[np.floating], q: float) -> Estimate:
        """The q-quantile of ``values [n]`` (lower of the two middle values for an even split); NaN left out."""
        data = np.asarray(values, dtype=np.float64)
        present = np.isfinite(data)
        data, member = data[present], self._member[present]
        if not len(data):
            return Estimate(float("nan"), None, 0)
        order = np.argsort(data, kind="stable")
        ordered, member = data[order], member[order]
        position, kept = np.empty(len(self._weights), dtype=np.int64), np.empty(len(self._weights), dtype=bool)
        rows = max(1, _TABLE_BYTES // (8 * len(data)))
        for start in range(0, len(self._weights), rows):
            some = slice(start, start + rows)
            cumulative = np.cumsum(self._weights[some, member], axis=1)
            kept[some] = cumulative[:, -1] > 0
            position[some] = (cumulative < q * cumulative[:, -1:]).sum(axis=1).clip(max=len(data) - 1)
        value = float(np.quantile(data, q, method="inverted_cdf"))
        return _estimate(value, ordered[position][kept], len(np.unique(member)), len(data), kept)


def _estimate(value: float, values: FloatArray, groups: int, n: int, kept: NDArray[np.bool_]) -> Estimate:
    finite = np.isfinite(values)
    if groups < FEWEST_GROUPS or not finite.any():
        return Estimate(value, None, n)
    low, high = np.percentile(values[finite], [2.5, 97.5])
    draws = values if finite.all() and kept.all() else None  # pairs with another side's only if none is missing
    return Estimate(value, (float(low), float(high)), n, draws)
