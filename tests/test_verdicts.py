"""Differences of two sides: against SciPy, against counting, and how often nothing is called something."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from energydiag import metrics
from energydiag.metrics import Better
from energydiag.pipeline.arms import over_seeds
from energydiag.pipeline.limits import kept_to
from energydiag.results import (
    BatchFacts,
    CheckpointDiagnosis,
    CheckpointFacts,
    Measurement,
)
from energydiag.results.changes import MetricChange, overall
from energydiag.statistics import Resampler
from energydiag.statistics.tests import holm, student_chance, student_quantile
from energydiag.statistics.verdicts import LEVEL, Number, changes, compare, fallen, number_of


def number(value: float, name: str = "auroc", better: Better = "higher", **more: object) -> Number:
    return Number(name, value, better, **{"matters": 0.01, "error": 0.01, **more})  # type: ignore[arg-type]


def only(first: Number, second: Number) -> MetricChange:
    (row,) = changes({"a": [first], "b": [second]})
    return row


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_what_stepping_down_by_hand_gives(chances: list[float]) -> None:
    corrected = holm(chances)
    for level in (0.01, 0.05, 0.3):
        kept, left = set(), sorted(range(len(chances)), key=lambda i: chances[i])
        while left and chances[left[0]] * len(left) <= level:
            kept.add(left.pop(0))
        assert {i for i, p in enumerate(corrected) if p <= level} == kept


@pytest.mark.parametrize("freedom", [1, 2.5, 7, 300, math.inf])
def test_students_t_is_scipys(freedom: float) -> None:
    law = stats.norm if math.isinf(freedom) else stats.t(freedom)
    assert student_chance(0.3, 0.15, freedom) == pytest.approx(2 * law.sf(2), rel=1e-6)
    assert student_quantile(0.975, freedom) == pytest.approx(law.ppf(0.975), rel=1e-6)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6), st.lists(st.floats(-5, 5), min_size=2, max_size=6))
def test_several_runs_a_side_are_welchs_test(ours: list[float], theirs: list[float]) -> None:
    if np.std(ours) < 1e-3 or np.std(theirs) < 1e-3:
        return

    def side(values: Sequence[float]) -> Number:
        error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
        return number(float(np.mean(values)), error=error, freedom=len(values) - 1.0)

    row = only(side(ours), side(theirs))
    oracle = stats.ttest_ind(theirs, ours, equal_var=False)
    assert row.p == pytest.approx(oracle.pvalue, rel=1e-6, abs=1e-12)
    assert row.ci95 == pytest.approx(tuple(oracle.confidence_interval()), rel=1e-6, abs=1e-9)


def test_pairs_are_told_apart_where_two_intervals_overlap() -> None:
    dice = np.random.default_rng(0)
    groups, common = np.repeat(np.arange(64), 4), dice.normal(0, 1, 256)
    before, after = (Resampler(groups, 0).mean(common + shift) for shift in (0.0, dice.normal(0.1, 0.05, 256)))
    assert before.ci95 is not None
    assert after.ci95 is not None
    assert before.ci95[1] > after.ci95[0]
    row = only(number(before.value, draws=before.draws), number(after.value, draws=after.draws))
    assert row.verdict == "improved"
    assert row.ci95 == pytest.approx((0.1, 0.1), abs=0.02)


def test_a_side_that_is_known_exactly_leaves_the_others_scatter() -> None:
    drawn = Resampler(np.arange(200), 0).mean(np.random.default_rng(0).binomial(1, 0.9, 200).astype(float))
    row = only(number(drawn.value, draws=drawn.draws, better="lower"), number(0.0, error=0.0, better="lower"))
    assert row.verdict == "improved"
    assert drawn.ci95 is not None
    assert row.ci95 == pytest.approx((-drawn.ci95[1], -drawn.ci95[0]))


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        (number(0.9), number(0.9), "inconclusive"),
        (number(0.9, error=0.001), number(0.9, error=0.001), "unchanged"),
        (number(0.9, error=0.001), number(0.95, error=0.001), "improved"),
        (number(0.9, error=0.001), number(0.85, error=0.001), "regressed"),
        (number(0.9, error=0.0001), number(0.905, error=0.0001), "unchanged"),
        (number(0.9, better="lower", error=0.001), number(0.85, better="lower", error=0.001), "improved"),
        (number(0.9, error=None), number(0.5, error=None), "inconclusive"),
        (number(0.9, error=0.0), number(0.5, error=0.0), "regressed"),
        (number(0.9, better="none", matters=None), number(0.5, better="none", matters=None), "incomparable"),
        (number(2.0, bound_to={"head": "original"}), number(1.0, bound_to={"head": "linear"}), "incomparable"),
        (number(2.0, bound_to={"head": "original"}), number(1.0), "regressed"),
    ],
)
def test_verdicts(first: Number, second: Number, wanted: str) -> None:
    row = only(first, second)
    assert row.verdict == wanted
    assert overall([row]) == wanted


def test_some_better_and_some_worse_is_mixed_and_of_several_sides_the_worst_counts() -> None:
    def row(name: str, second: float) -> MetricChange:
        return only(number(0.9, name, error=0.001), number(second, name, error=0.001))

    better, worse, same = row("auroc", 0.95), row("top1", 0.85), row("mrr", 0.9)
    assert overall([*[better] * 6, worse, same]) == "mixed"
    assert overall([better, same]) == "improved"
    other = replace(better, values={"a": 0.9, "c": 0.95})
    assert overall([other, worse]) == "regressed"
    assert overall([other, better, worse]) == "mixed"


def test_the_smallest_change_that_matters_is_the_same_in_either_order() -> None:
    one, other = number(1.0, matters=0.02, error=0.001), number(2.0, matters=0.04, error=0.001)
    assert only(one, other).matters == only(other, one).matters == pytest.approx(0.03)


def test_a_number_that_may_be_one_of_several_is_compared_with_each_of_these() -> None:
    several = number(1.0, bound_to={"objective": "bce or bt"})
    assert only(several, number(1.0, bound_to={"objective": "bt"})).reason == ""
    assert "objective is bce or bt here" in only(several, number(1.0, bound_to={"objective": "cd"})).reason


@pytest.mark.parametrize(
    ("change", "error", "verdict"),
    [
        (0.0, 0.001, "kept"),
        (-0.005, 0.001, "kept"),
        (0.0, 0.02, "unclear"),
        (-0.02, 0.02, "unclear"),
        (-0.05, 0.01, "broken"),
        (-0.05, None, "unclear"),
        (0.0, None, "unclear"),
    ],
)
def test_a_limit_is_kept_where_the_whole_interval_is(change: float, error: float | None, verdict: str) -> None:
    row = only(number(0.9, error=error), number(0.9 + change, error=error))
    (limit,) = kept_to({"auroc": "0.01"}, [row])
    assert limit.verdict == verdict


def test_what_is_apart_is_told() -> None:
    row = only(number(2.0, bound_to={"head": "original"}), number(1.0, bound_to={"head": "linear"}))
    assert "head is original here and linear there" in row.reason
    assert row.better == "none"


def test_every_other_side_is_compared_with_the_first_and_all_are_corrected_together() -> None:
    z = 2.3  # of one metric alone this would be enough
    second = number(0.9 + z * 0.001 * math.sqrt(2) * 10, error=0.01)
    alone = only(number(0.9), second)
    assert alone.p is not None
    assert alone.p < LEVEL
    rows = changes({"a": [number(0.9)], "b": [second], "c": [number(0.9)], "d": [number(0.9)]})
    assert [(row.side, next(iter(row.values))) for row in rows] == [("b", "a"), ("c", "a"), ("d", "a")]
    assert rows[0].p == pytest.approx(3 * alone.p)
    assert rows[0].verdict == "inconclusive"


def test_places_are_corrected_each_on_its_own() -> None:
    sides = {name: [number(value, at=place) for place in ("last", "best")] for name, value in (("a", 0.9), ("b", 0.95))}
    one = only(number(0.9), number(0.95))
    assert [row.p for row in changes(sides)] == pytest.approx([one.p, one.p])


def _called(shift: float, metrics: int, pairs: int) -> float:
    """Share of simulated pairs of checkpoints, 256 samples of 64 episodes, that are called different."""
    dice, groups, called = np.random.default_rng(1), np.repeat(np.arange(64), 4), 0
    for seed in range(pairs):
        resampler, sides = Resampler(groups, seed), {"a": [], "b": []}  # type: dict[str, list[Number]]
        for metric in range(metrics):
            episode = np.repeat(dice.normal(0, 0.05, 64), 4)
            for name, moved in (("a", 0.0), ("b", shift)):
                values = np.clip(0.9 - moved + episode + dice.normal(0, 0.12, 256), 0, 1)
                found = resampler.mean(values)
                sides[name].append(
                    number(found.value, f"auroc.{metric}", draws=found.draws, matters=0.005, freedom=63.0)
                )
        called += overall(changes(sides)) in ("improved", "regressed", "mixed")
    return called / pairs


def test_nothing_is_seldom_called_something_and_five_percent_are_nearly_always_found() -> None:
    assert _called(0.0, 12, 200) <= 0.07  # 0.05, and what 200 pairs may be off by
    assert _called(0.05 * 0.9, 12, 100) >= 0.95


def test_a_mapping_of_one_side_has_no_rows() -> None:
    alone: Mapping[str, Sequence[Number]] = {"a": [number(0.9)]}
    assert changes(alone) == ()
    assert overall(()) == "incomparable"


# two diagnoses of the same samples


def side(values: np.ndarray, name: str = "auroc.swap", seed: int = 0) -> CheckpointDiagnosis:
    estimate = Resampler(np.arange(len(values)), seed).mean(values)
    number = Measurement(name, estimate.value, "1", estimate.n, estimate.ci95, draws=estimate.draws)
    return CheckpointDiagnosis(
        verdict="healthy",
        checkpoint=CheckpointFacts(),
        batch=BatchFacts(samples_used=len(values)),
        measurements=(number,),
    )


def test_the_interval_is_that_of_the_paired_difference() -> None:
    generator = np.random.default_rng(1)
    first = generator.normal(size=80)
    second = first + generator.normal(0.1, 0.05, size=80)
    metric = compare(side(first), side(second), ("a", "b"), ["auroc.swap"]).metrics[0]
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
    ],
)
def test_a_paired_verdict(name: str, shift: float, spread: float, verdict: str) -> None:
    generator = np.random.default_rng(2)
    first = generator.normal(size=100)
    second = first + generator.normal(shift, spread, size=100)
    comparison = compare(side(first, name), side(second, name), ("a", "b"), [name])
    assert comparison.metrics[0].verdict == verdict
    assert comparison.verdict == verdict


def test_over_seeds_averages_and_widens_by_the_spread_between_runs() -> None:
    values = np.random.default_rng(3).normal(size=200)
    runs = [side(values + shift).measurements for shift in (-0.5, 0.0, 0.5)]
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


PAIRS = 1000


@pytest.mark.slow
@pytest.mark.parametrize("episodes", [8, 20, 72])
def test_sides_that_do_not_differ_are_seldom_called_different(episodes: int) -> None:
    """13 metrics of 256 samples: what a sample adds is shared by both sides, half of the rest is its episode's."""
    generator = np.random.default_rng(episodes)
    groups = np.arange(256) % episodes
    names = [name for name in metrics.names("compared") if metrics.metric(name).min_effect][:13]
    assert len(names) == 13
    different = 0
    for pair in range(PAIRS):
        resampler = Resampler(groups, pair)
        shared = generator.normal(size=(256, 13))
        both: list[list[Number]] = [[], []]
        for numbers in both:
            noise = generator.normal(size=(episodes, 13))[groups] + generator.normal(size=(256, 13))
            for name, values in zip(names, (shared + noise).T, strict=True):
                estimate = resampler.mean(values)
                number = Measurement(name, estimate.value, "1", 256, estimate.ci95, draws=estimate.draws)
                numbers.append(replace(number_of(number, episodes - 1.0), matters=1e-6))
        verdicts = {row.verdict for row in changes({"first": both[0], "second": both[1]})}
        different += bool(verdicts & {"improved", "regressed"})
    assert different / PAIRS <= 0.065
