"""Where the loss went.

"Last" is the mean over the last tenth of the points (ten at least, no more than half), with an interval by block
bootstrap; every "slope" is how far a quantity moved along a robust line (Theil 1950, Sen 1968) over the second half of
its points, from that half's first to its last step, with Sen's interval widened where neighbours resemble each other.

* ``run.loss.first``, ``run.loss.last``, ``run.loss.best``: the first value, the last ones, the lowest one.
* ``run.loss.fall``: (first − last) / |first|.
* ``run.loss.early_rise``: (highest of the first tenth of the points, ten at least − first) / |first|.
* ``run.loss.slope_last_half``: in the loss's own unit; below 0 it falls.
* ``run.loss.rise``: the same over |last|, where it counts as a rise.
* ``run.spikes``: points above the median of the eleven around them by six robust standard deviations (1.4826 times the
  median absolute deviation, Hampel 1974) and by a tenth; ``run.spikes.height`` is how far the highest stands above its
  surroundings, relative to them.
* ``run.oscillation``: Fisher's g (1929) over the second half: after a straight line was taken away, the share of the
  loss's variance in one period, among those of which four at least fit in. ``run.oscillation.noise`` is what noise of
  as many points, whose neighbours resemble each other as much, exceeds once in a thousand times (Torrence and Compo
  1998), ``run.oscillation.period`` is in steps, and ``run.oscillation.amplitude`` is that wave's amplitude over the
  mean loss.
* ``run.loss.repeat``: share of windows of four consecutive values, neighbours unequal, that stood in the log before,
  digit by digit. With weights that move, no loss comes back four times in a row.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from energydiag.results import Measurement, Skipped
from energydiag.runs.family import Family, Run, measured
from energydiag.runs.trends import change, last_half, mean, oscillation, repeats, scaled, spikes, tail
from energydiag.statistics import Estimate


def _measure(run: Run) -> Iterable[Measurement | Skipped]:
    loss = run.loss()
    n = len(loss)
    if not n:
        return
    first, last, late = float(loss.value[0]), mean(tail(loss).value), last_half(loss)
    yield Measurement.of("run.loss.first", first, 1)
    yield measured("run.loss.last", last)
    yield Measurement.of("run.loss.best", float(loss.value.min()), n)
    if first:
        yield measured("run.loss.fall", _fall(first, last))
        early = float(loss.value[: max(10, n // 10)].max())
        yield Measurement.of("run.loss.early_rise", (early - first) / abs(first), n)
    slope = change(late)
    yield measured("run.loss.slope_last_half", slope)
    if slope is not None and last.value:
        yield measured("run.loss.rise", scaled(slope, 1 / abs(last.value)))
    count, height = spikes(loss.value)
    yield Measurement.of("run.spikes", float(count), n)
    yield Measurement.of("run.spikes.height", height, n)
    yield Measurement.of("run.loss.repeat", repeats(loss.value), n)
    found = oscillation(late.value)
    if found is None:
        yield Skipped("run.oscillation", "too few points were logged")
        return
    share, noise, period, amplitude = found
    yield Measurement.of("run.oscillation", share, len(late))
    yield Measurement.of("run.oscillation.noise", noise, len(late))
    if share > noise:
        spacing = float(np.median(np.diff(late.step)))
        yield Measurement.of("run.oscillation.period", period * spacing, len(late))
    level = abs(float(late.value.mean()))
    if level:
        yield Measurement.of("run.oscillation.amplitude", amplitude / level, len(late))


def _fall(first: float, last: Estimate) -> Estimate:
    moved = scaled(last, -1 / abs(first))
    start = first / abs(first)
    ends = None if moved.ci95 is None else (start + moved.ci95[0], start + moved.ci95[1])
    return Estimate(start + moved.value, ends, last.n)


FAMILY = Family("losses", _measure)
