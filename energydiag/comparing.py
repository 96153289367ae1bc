"""Paired comparison of two measurements of the same samples.

Both sides were resampled with the same draws of episodes, so the difference of their bootstrap values, draw by draw, is
the bootstrap of the difference (Davison and Hinkley 1997, §4.4.1 on paired data).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from energydiag.results import Changes, Measurement, MetricChange
from energydiag.results.changes import Better, Change, direction, overall, smallest_change

PROOF = (
    "auroc.swap",
    "top1.swap",
    "auroc.policy",
    "field.alignment.policy",
    "field.correction_gain.k1",
    "field.correction_gain.k4",
    "field.correction_gain.k8",
)
"""Scale-free numbers on which a repair is judged: ranking far and near, direction, and what following E does."""


def compare(
    first: Sequence[Measurement],
    second: Sequence[Measurement],
    sides: tuple[str, str],
    names: Iterable[str] | None = None,
) -> Changes:
    """Second against first, metric by metric.

    Args:
        first: Measurements of one side, with their draws.
        second: Of the other side, made on the same samples with the same seed.
        sides: What they are called.
        names: Which metrics; None takes all that both have.
    """
    before, after = ({m.name: m for m in side} for side in (first, second))
    wanted = list(names) if names is not None else [m.name for m in first]
    metrics = tuple(_change(before[n], after[n], sides) for n in wanted if n in before and n in after)
    return Changes(sides, overall(metrics), metrics)


_ONE_ERROR = 84
"""Percentile that is one standard error above the middle."""


def fallen(first: Sequence[Measurement], second: Sequence[Measurement], names: Iterable[str]) -> tuple[str, ...]:
    """Names of the metrics in which the second side is worse, by a laxer standard than `compare` has.

    Worse by more than the smallest change that matters and by more than one standard error of the difference: what is
    wanted is a warning, not a proof, and a few samples prove little.

    Args:
        first: As for `compare`.
        second: Likewise.
        names: Which metrics, higher being better in all.
    """
    before, after = ({m.name: m for m in side} for side in (first, second))

    def fell(name: str) -> bool:
        one, other = before[name], after[name]
        sure = one.draws is None or other.draws is None or len(one.draws) != len(other.draws)
        if one.draws is not None and other.draws is not None and not sure:
            sure = float(np.percentile(np.asarray(other.draws) - np.asarray(one.draws), _ONE_ERROR)) < 0
        return other.value - one.value < -(smallest_change(name) or 0.0) and sure

    return tuple(name for name in names if name in before and name in after and fell(name))


def _change(first: Measurement, second: Measurement, sides: tuple[str, str]) -> MetricChange:
    delta = second.value - first.value
    interval = None
    if first.draws is not None and second.draws is not None and len(first.draws) == len(second.draws):
        low, high = np.percentile(np.asarray(second.draws) - np.asarray(first.draws), [2.5, 97.5])
        interval = (float(low), float(high))
    matters = smallest_change(first.name)
    better: Better = "none" if matters is None else direction(first.name)
    values = {sides[0]: first.value, sides[1]: second.value}
    return MetricChange(first.name, values, delta, interval, better, _verdict(delta, interval, better, matters))


def _verdict(delta: float, interval: tuple[float, float] | None, better: Better, matters: float | None) -> Change:
    if better == "none" or matters is None:
        return "incomparable"
    if interval is None:
        return "unchanged" if delta == 0 else "inconclusive"
    low, high = interval if better == "higher" else (-interval[1], -interval[0])
    size = delta if better == "higher" else -delta
    if low > 0 and size >= matters:
        return "improved"
    if high < 0 and -size >= matters:
        return "regressed"
    return "unchanged" if -matters < low and high < matters else "inconclusive"


def over_seeds(runs: Sequence[Sequence[Measurement]], seed: int) -> tuple[Measurement, ...]:
    """Measurements of one arm, averaged over its runs with different seeds.

    Args:
        runs: Measurements of each run, on the same samples with the same draws.
        seed: Of the resampling of runs, by which the interval covers the spread between them as well.
    """
    if len(runs) == 1:
        return tuple(runs[0])
    by_name = [{m.name: m for m in run} for run in runs]
    generator = np.random.default_rng(seed)
    found = []
    for m in runs[0]:
        same = [names[m.name] for names in by_name if m.name in names]
        if len(same) < len(runs):
            continue
        draws = None
        stacked = [np.asarray(s.draws) for s in same if s.draws is not None]
        if len(stacked) == len(runs):
            table = np.stack(stacked)
            chosen = generator.integers(len(runs), size=(len(runs), table.shape[1]))
            draws = np.take_along_axis(table, chosen, axis=0).mean(axis=0)
        value = float(np.mean([s.value for s in same]))
        interval = None if draws is None else (float(np.percentile(draws, 2.5)), float(np.percentile(draws, 97.5)))
        found.append(replace(m, value=value, ci95=interval, draws=draws))
    return tuple(found)
