"""Paired comparison: what an interval and the smallest effect that matters say together."""

from __future__ import annotations

import numpy as np
import pytest

from energydiag.comparing import compare, fallen, over_seeds
from energydiag.results import Measurement
from energydiag.statistics import Resampler


def side(values: np.ndarray, name: str = "auroc.swap", seed: int = 0) -> list[Measurement]:
    estimate = Resampler(np.arange(len(values)), seed).mean(values)
    return [Measurement(name, estimate.value, "1", estimate.n, estimate.ci95, draws=estimate.draws)]


def test_the_interval_is_that_of_the_paired_difference() -> None:
    generator = np.random.default_rng(1)
    first = generator.normal(size=80)
    second = first + generator.normal(0.1, 0.05, size=80)
    metric = compare(side(first), side(second), ("a", "b")).metrics[0]
    wanted = Resampler(np.arange(80), 0).mean(second - first)
    assert metric.delta == pytest.approx(wanted.value)
    assert metric.ci95 == pytest.approx(wanted.ci95)
    assert metric.verdict == "improved"
    assert metric.values == {"a": pytest.approx(first.mean()), "b": pytest.approx(second.mean())}


@pytest.mark.parametrize(
    ("name", "shift", "spread", "verdict"),
    [
        ("auroc.swap", 0.1, 0.05, "improved"),
        ("auroc.swap", -0.1, 0.05, "regressed"),
        ("auroc.swap", 0.001, 0.0005, "unchanged"),
        ("auroc.swap", 0.02, 0.5, "inconclusive"),
        ("field.spurious_minimum_rate", 0.1, 0.05, "regressed"),
        ("field.spurious_minimum_rate", -0.1, 0.05, "improved"),
        ("gap.swap", 5.0, 0.1, "incomparable"),
    ],
)
def test_verdicts(name: str, shift: float, spread: float, verdict: str) -> None:
    generator = np.random.default_rng(2)
    first = generator.normal(size=100)
    second = first + generator.normal(shift, spread, size=100)
    comparison = compare(side(first, name), side(second, name), ("a", "b"))
    assert comparison.metrics[0].verdict == verdict
    assert comparison.verdict == verdict


def test_over_seeds_averages_and_widens_by_the_spread_between_runs() -> None:
    values = np.random.default_rng(3).normal(size=200)
    runs = [side(values + shift) for shift in (-0.5, 0.0, 0.5)]
    together = over_seeds(runs, seed=0)[0]
    assert together.value == pytest.approx(values.mean())
    assert together.ci95 is not None
    alone = runs[1][0].ci95
    assert alone is not None
    assert together.ci95[1] - together.ci95[0] > 1.5 * (alone[1] - alone[0])
    assert over_seeds(runs[:1], seed=0) == tuple(runs[0])


@pytest.mark.parametrize(
    ("name", "shift", "spread", "fell"),
    [
        ("auroc.swap", -0.1, 0.05, True),
        ("auroc.swap", -0.003, 0.0005, False),  # less than what matters
        ("auroc.swap", -0.06, 0.35, True),  # 1.7 standard errors: the proof would call it inconclusive
        ("auroc.swap", -0.02, 0.5, False),
        ("auroc.swap", 0.1, 0.05, False),
        ("top1.swap", -0.1, 0.05, False),  # not asked for
    ],
)
def test_what_has_fallen_by_a_laxer_standard(name: str, shift: float, spread: float, fell: bool) -> None:
    noise = np.random.default_rng(3).normal(size=100)
    first = np.random.default_rng(2).normal(size=100)
    second = first + shift + spread * (noise - noise.mean()) / noise.std()
    assert bool(fallen(side(first, name), side(second, name), ("auroc.swap", "auroc.policy"))) is fell
