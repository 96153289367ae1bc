"""Statistics of one noisy series: its end, its trend, its oscillation, its spikes.

Neighbours of a training log resemble each other, so intervals of averages come from blocks of neighbours, and trends
from medians of blocks.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from energydiag.runs.log import FloatArray, Series
from energydiag.statistics import RESAMPLES, Estimate

LEAST = 8
"""Points without which no trend is told: with fewer, Kendall's test can hardly reject anything."""

_TAIL = 10
_BLOCKS = 64
_CYCLES = 4
_Z = 1.959964


def tail(series: Series) -> Series:
    """The last tenth of the points; ten at least, but no more than half of them (and never none)."""
    count = min(max(_TAIL, math.ceil(len(series) / 10)), max(1, len(series) // 2))
    return Series(series.step[-count:], series.value[-count:])


def last_half(series: Series) -> Series:
    """The later half of the points."""
    return Series(series.step[len(series) // 2 :], series.value[len(series) // 2 :])


def mean(values: FloatArray) -> Estimate:
    """The mean, with a 95 % interval from a circular block bootstrap (Politis and Romano 1992).

    Blocks are ∛n points long. Percentiles are widened by √(n / (n − length)), the bias of so few blocks.
    """
    n = len(values)
    value = float(values.mean()) if n else math.nan
    if n < 3:
        return Estimate(value, None, n)
    length = max(1, round(n ** (1 / 3)))
    blocks = -(-n // length)
    sums = np.append(np.cumsum(np.append(values, values[: length - 1])), 0.0)
    means = (sums[length - 1 : length - 1 + n] - np.append(0.0, sums[: n - 1])) / length
    drawn = means[np.random.default_rng(0).integers(n, size=(RESAMPLES, blocks))].mean(axis=1)
    low, high = np.percentile(drawn - value, [2.5, 97.5]) * math.sqrt(n / (n - length))
    return Estimate(value, (value + float(low), value + float(high)), n)


def share(flags: NDArray[np.bool_]) -> Estimate:
    """The mean of truths, whose interval ends at 0 and 1."""
    found = mean(flags.astype(np.float64))
    if found.ci95 is None:
        return found
    return Estimate(found.value, (max(0.0, found.ci95[0]), min(1.0, found.ci95[1])), found.n)


def change(series: Series) -> Estimate | None:
    """How far the series moved from its first to its last step, along a robust line; None for too few points.

    The line's slope is the median of the slopes of all pairs (Theil 1950, Sen 1968) over the medians of at most 64
    blocks of neighbours. Its 95 % interval is Sen's, with his correction for ties, and with Kendall's variance times
    (1 + r) / (1 - r) for neighbours that resemble each other (Yue and Wang 2004).
    """
    if len(series) < LEAST:
        return None
    step, value = _blocks(series)
    first, second = np.triu_indices(len(step), 1)
    slopes = np.sort((value[second] - value[first]) / (step[second] - step[first]))
    n, pairs = len(step), len(slopes)
    ties = np.unique(value, return_counts=True)[1].astype(float)
    variance = (n * (n - 1) * (2 * n + 5) - (ties * (ties - 1) * (2 * ties + 5)).sum()) / 18
    line = np.median(slopes)
    reach = _Z * math.sqrt(max(variance, 0.0) * _inflation(value - line * step))
    if not math.isfinite(reach):  # steps so close together that no slope is a number
        return Estimate(math.nan, None, len(series))
    low = slopes[max(0, math.floor((pairs - reach) / 2) - 1)]
    high = slopes[min(pairs - 1, math.ceil((pairs + reach) / 2))]
    length = float(series.step[-1] - series.step[0])
    return Estimate(length * float(line), (length * float(low), length * float(high)), len(series))


def _inflation(rest: FloatArray) -> float:
    """What a correlation r between neighbours does to the variance of a trend; 1 for none or a negative one."""
    r = resemblance(rest)
    return (1 + r) / (1 - r)


def resemblance(rest: FloatArray) -> float:
    """Correlation of neighbours, with its bias of -(1 + 3r) / n (Kendall 1954) taken away; within 0 and 0.95."""
    n = len(rest)
    around = rest - rest.mean()
    power = float(around @ around)
    if n < 3 or not power > 0:
        return 0.0
    r = float(around[1:] @ around[:-1]) / power
    return min(max(r + (1 + 3 * r) / n, 0.0), 0.95)


def scaled(estimate: Estimate, by: float) -> Estimate:
    """The estimate times a number."""
    if estimate.ci95 is None:
        return Estimate(estimate.value * by, None, estimate.n)
    low, high = sorted(end * by for end in estimate.ci95)
    return Estimate(estimate.value * by, (low, high), estimate.n)


def _blocks(series: Series) -> tuple[FloatArray, FloatArray]:
    if len(series) <= _BLOCKS:
        return series.step, series.value
    edges = np.linspace(0, len(series), _BLOCKS + 1).round().astype(int)
    parts = [slice(a, b) for a, b in itertools.pairwise(edges)]
    return (
        np.array([np.median(series.step[part]) for part in parts]),
        np.array([np.median(series.value[part]) for part in parts]),
    )


def oscillation(values: FloatArray) -> tuple[float, float, float, float] | None:
    """Fisher's test for a hidden period (1929), after a straight line was taken away; None for too few points.

    Returns:
        The share of the sum of periodogram ordinates in the one that stands out most, among periods of which four at
        least fit into the series; the share that noise exceeds once in a thousand times (the bound m·(1 − g)^(m − 1)),
        where neighbours resemble each other as here (ordinates over the spectrum of such noise, Torrence and Compo
        1998, eq. 16); the period in points; the amplitude of that wave.
    """
    values = values[1 - len(values) % 2 :]  # an odd number, so that no period falls on the last ordinate alone
    n = len(values)
    time = np.arange(n) - (n - 1) / 2
    ordinates = (n - 1) // 2 - _CYCLES + 1
    if ordinates < 4:
        return None
    rest = values - values.mean() - time * float(time @ values) / float(time @ time)
    spectrum = np.abs(np.fft.rfft(rest))[_CYCLES : _CYCLES + ordinates]
    noise = 1 - (1e-3 / ordinates) ** (1 / (ordinates - 1))
    if float(rest.std()) <= 1e-9 * float(np.abs(values).max()):
        return 0.0, noise, math.nan, 0.0
    power = spectrum**2
    angle = 2 * math.pi * np.arange(_CYCLES, _CYCLES + ordinates) / n
    r = resemblance(rest)
    flat = power * (1 + r * r - 2 * r * np.cos(angle)) / (1 - r * r)
    top = int(flat.argmax())
    share, over_noise = float(power[top] / power.sum()), float(flat[top] / flat.sum())
    return share, min(1.0, noise * share / over_noise), n / (top + _CYCLES), 2 * float(spectrum[top]) / n


def spikes(values: FloatArray) -> tuple[int, float]:
    """How many points stand out upwards, and by how much the highest, relative to what is around it.

    A point stands out where it is above the median of the eleven points around it by six robust standard deviations
    (Hampel 1974: 1.4826 times the median absolute deviation) and by a tenth of it. The five points at either end are
    not looked at.
    """
    if len(values) < 11:
        return 0, 0.0
    around = np.median(np.lib.stride_tricks.sliding_window_view(values, 11), axis=1)
    above = values[5:-5] - around
    deviation = 1.4826 * float(np.median(np.abs(above - np.median(above))))
    out = (above > 6 * deviation) & (above > 0.1 * np.abs(around)) & (above > 0)
    if not out.any():
        return 0, 0.0
    return int(out.sum()), float((above[out] / np.maximum(np.abs(around[out]), np.finfo(float).tiny)).max())


def repeats(values: FloatArray) -> float:
    """Share of windows of four values, neighbours unequal, that stood in the series before, digit by digit."""
    if len(values) < 8:
        return 0.0
    windows = np.lib.stride_tricks.sliding_window_view(values, 4)
    moving = (windows[:, 1:] != windows[:, :-1]).all(axis=1)
    kept = windows[moving]
    return (len(kept) - len(np.unique(kept, axis=0))) / len(windows)
