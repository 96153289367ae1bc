"""Bootstrap intervals against explicit resampling, and their coverage."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from energydiag.statistics import FEWEST_GROUPS, Resampler, intervals

GROUPS = np.array([3, 3, 3, 7, 7, 1, 1, 1, 1, 9, 4, 4])
RESAMPLES = 200

Values = NDArray[np.float64]


def draws(groups: NDArray[np.int64], seed: int, resamples: int) -> NDArray[np.int64]:
    """How often each group is in each resample, as the resampler draws it."""
    count = len(np.unique(groups))
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)


def slow_interval(
    columns: Values, groups: NDArray[np.int64], statistic: Callable[[Values], float], seed: int = 0
) -> tuple[float, float]:
    """The interval by building every resample, row by row."""
    names = np.unique(groups)
    values = []
    for times in draws(groups, seed, RESAMPLES):
        rows = [
            row for name, n in zip(names, times, strict=True) for row in np.repeat(columns[groups == name], n, axis=0)
        ]
        rows = [row for row in rows if np.isfinite(row).all()]
        if rows:
            values.append(statistic(np.array(rows)))
    return tuple(np.percentile(values, [2.5, 97.5]))


@pytest.fixture(params=["complete", "with holes"])
def values(request: pytest.FixtureRequest) -> Values:
    drawn = np.random.default_rng(5).normal(size=len(GROUPS))
    if request.param == "with holes":
        drawn[[1, 3, 4]] = np.nan  # group 7 has nothing left
    return drawn


def test_mean_equals_the_explicit_bootstrap(values: Values) -> None:
    found = Resampler(GROUPS, 0, RESAMPLES).mean(values)
    assert found.value == pytest.approx(np.nanmean(values))
    assert found.n == np.isfinite(values).sum()
    assert found.ci95 == pytest.approx(slow_interval(values[:, None], GROUPS, lambda rows: rows.mean()))


def test_ratio_of_means_equals_the_explicit_bootstrap(values: Values) -> None:
    columns = np.stack((values, values**2 + 1), axis=1)
    found = Resampler(GROUPS, 0, RESAMPLES).of_means(columns, lambda means: means[..., 0] / means[..., 1])
    wanted = slow_interval(columns, GROUPS, lambda rows: rows[:, 0].mean() / rows[:, 1].mean())
    assert found.ci95 == pytest.approx(wanted)


@pytest.mark.parametrize("q", [0.05, 0.5, 0.75, 0.95])
def test_quantile_equals_the_explicit_bootstrap(values: Values, q: float) -> None:
    def quantile(rows: Values) -> float:
        return float(np.quantile(rows, q, method="inverted_cdf"))

    found = Resampler(GROUPS, 0, RESAMPLES).quantile(values, q)
    assert found.value == quantile(values[np.isfinite(values)])
    assert found.ci95 == pytest.approx(slow_interval(values[:, None], GROUPS, quantile))


@pytest.mark.parametrize("per_group", [1, 5])
def test_the_interval_covers_the_mean_in_about_95_of_100_data_sets(per_group: int) -> None:
    """Samples of one group share most of their deviation; ignoring that would cover in about 60 of 100."""
    covered, datasets, groups = 0, 200, 40
    for seed in range(datasets):
        generator = np.random.default_rng(1000 + seed)
        shared = np.repeat(generator.normal(size=groups), per_group)
        data = 3 + shared + 0.3 * generator.normal(size=groups * per_group)
        interval = Resampler(np.repeat(np.arange(groups), per_group), seed, 400).mean(data).ci95
        assert interval is not None
        covered += interval[0] <= 3 <= interval[1]
    assert 0.90 <= covered / datasets <= 0.99


def test_one_group_gives_no_interval() -> None:
    one = Resampler(np.zeros(5, dtype=np.int64), 0)
    assert one.mean(np.arange(5.0)).ci95 is None
    assert one.quantile(np.arange(5.0), 0.5).ci95 is None


def test_one_group_that_is_left_gives_no_interval() -> None:
    values = np.array([1.0, 2.0, np.nan, np.nan])
    two = Resampler(np.array([0, 0, 1, 1]), 0)
    assert two.mean(values).ci95 is None
    assert two.quantile(values, 0.5).ci95 is None


def test_resamples_in_which_nothing_is_left_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of sixteen draws the two empty groups alone; it must not stand for the lowest value, which is no median."""
    monkeypatch.setattr(intervals, "FEWEST_GROUPS", 2)
    values = np.array([0.0, 10, 11, 0, 12, 13, np.nan, np.nan])
    found = Resampler(np.array([0, 0, 0, 1, 1, 1, 2, 3]), 0, 400).quantile(values, 0.5)
    assert found.ci95 is not None
    assert found.ci95[0] >= 10


@pytest.mark.parametrize(("groups", "drawn"), [(FEWEST_GROUPS - 1, False), (FEWEST_GROUPS, True)])
def test_an_interval_takes_some_groups(groups: int, drawn: bool) -> None:
    found = Resampler(np.arange(12) % groups, 0).mean(np.arange(12.0))
    assert (found.ci95 is not None) == drawn


def test_nothing_to_average_is_told_as_no_samples() -> None:
    nothing = np.full(3, np.nan)
    for found in (
        Resampler(np.arange(3), 0).mean(nothing),
        Resampler(np.arange(3), 0).quantile(nothing, 0.5),
    ):
        assert (found.n, found.ci95) == (0, None)
        assert np.isnan(found.value)


def test_the_same_seed_gives_the_same_interval_and_another_another() -> None:
    data = np.random.default_rng(0).normal(size=20)
    first, again, other = (Resampler(np.arange(20), seed).mean(data) for seed in (1, 1, 2))
    assert first == again
    assert first.ci95 != other.ci95


number = st.one_of(st.just(np.nan), st.floats(-1e6, 1e6))


@given(samples=st.lists(st.tuples(st.integers(0, 4), number), min_size=1, max_size=20), q=st.floats(0.01, 0.99))
def test_value_and_interval_stay_between_the_least_and_the_greatest(samples: list[tuple[int, float]], q: float) -> None:
    groups, values = (np.array(column) for column in zip(*samples, strict=True))
    finite = values[np.isfinite(values)]
    resampler = Resampler(groups, 0, 100)
    for found in (resampler.mean(values), resampler.quantile(values, q)):
        assert found.n == len(finite)
        if found.n:
            rounding = 1e-9 * (1 + np.abs(finite).max())
            for value in (found.value, *(found.ci95 or ())):
                assert finite.min() - rounding <= value <= finite.max() + rounding


def test_more_groups_than_are_drawn_one_by_one_give_about_the_same_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = np.arange(9000) // 3
    values = np.random.default_rng(0).normal(size=3000)[groups] + np.random.default_rng(1).normal(size=9000)
    one_by_one = Resampler(groups, 0)
    monkeypatch.setattr(intervals, "MOST_GROUPS", 1000)
    together = Resampler(groups, 0)
    for statistic in (lambda r: r.mean(values), lambda r: r.quantile(values, 0.5)):
        found, expected = statistic(together), statistic(one_by_one)
        assert (found.value, found.n) == (expected.value, 9000)
        assert np.ptp(found.ci95) == pytest.approx(np.ptp(expected.ci95), rel=0.1)


def test_a_quantile_does_not_depend_on_how_many_resamples_are_looked_at_together(
    values: Values, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Resampler(GROUPS, 3).quantile(values, 0.3)
    monkeypatch.setattr(intervals, "_TABLE_BYTES", 8 * 7 * len(values))
    again = Resampler(GROUPS, 3).quantile(values, 0.3)
    assert again == whole
    assert np.array_equal(again.draws, whole.draws)  # type: ignore[arg-type]
