"""Differences of two sides: against SciPy, against counting, and how often nothing is called something."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from energydiag.results.changes import Better, MetricChange, overall
from energydiag.side_by_side import LEVEL, Number, changes
from energydiag.statistics import Resampler, holm, student_chance, student_quantile


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
        called += overall(changes(sides)) in ("improved", "regressed")
    return called / pairs


def test_nothing_is_seldom_called_something_and_five_percent_are_nearly_always_found() -> None:
    assert _called(0.0, 12, 200) <= 0.07  # 0.05, and what 200 pairs may be off by
    assert _called(0.05 * 0.9, 12, 100) >= 0.95


def test_a_mapping_of_one_side_has_no_rows() -> None:
    alone: Mapping[str, Sequence[Number]] = {"a": [number(0.9)]}
    assert changes(alone) == ()
    assert overall(()) == "incomparable"
