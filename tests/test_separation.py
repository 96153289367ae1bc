"""Ranks, gaps and AUROC where the energies are known exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from energydiag.batch import Batch
from energydiag.energies.pairs import Pairs
from energydiag.models.energy_function import EnergyFunction
from energydiag.probes import Evidence, MeasuringSettings, saturation
from energydiag.probes.separation import PROBE, _separation, _standardised, coupling, ranks
from energydiag.results import Measurement
from energydiag.statistics import Resampler

small = st.integers(-2, 2)  # few values, so many ties


@given(rows=st.integers(1, 5).flatmap(lambda m: st.lists(st.lists(small, min_size=m + 1, max_size=m + 1), min_size=1)))
def test_ranks_equal_counting_one_by_one(rows: list[list[int]]) -> None:
    table = np.array(rows, dtype=np.float64)
    auroc, top1, mrr = ranks(table[:, 0], table[:, 1:])
    for i, (positive, *negatives) in enumerate(rows):
        lower, equal = (sum(f(e) for e in negatives) for f in (positive.__gt__, positive.__eq__))
        above = len(negatives) - lower - equal
        assert auroc[i] == pytest.approx((above + equal / 2) / len(negatives))
        assert top1[i] == pytest.approx(0 if lower else 1 / (1 + equal))
        assert mrr[i] == pytest.approx(1 / (1 + lower + equal / 2))


def moments(negative: np.ndarray, positive: np.ndarray) -> np.ndarray:
    return np.array([negative.mean(), (negative**2).mean(), positive.mean(), (positive**2).mean()])


@pytest.mark.parametrize("shift", [0.0, -7.5, 1e4])
def test_standardised_gap_is_that_over_the_pooled_deviation(shift: float) -> None:
    generator = np.random.default_rng(0)
    negative, positive = shift + 1 + generator.normal(size=300), shift + 0.5 * generator.normal(size=50)
    wanted = (negative.mean() - positive.mean()) / np.sqrt((negative.var() + positive.var()) / 2)
    assert float(_standardised(moments(negative, positive))) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_standardised_gap_of_constant_energies_is_zero(value: float) -> None:
    assert float(_standardised(moments(np.full(7, value), np.full(3, value)))) == 0


@pytest.mark.parametrize(("offset", "dtype"), [(1e6, np.float64), (-1e9, np.float64), (1e6, np.float32)])
def test_an_offset_changes_no_standardised_gap(offset: float, dtype: type) -> None:
    """Their squares would lose the spread: 1e6 squared has steps of 1e-4 in float64."""
    generator = np.random.default_rng(0)
    positive = (offset + generator.normal(size=40)).astype(dtype)
    negative = (offset + 1.5 + generator.normal(size=(40, 9))).astype(dtype)
    found = {m.name: m.value for m in _separation("swap", positive, negative, Resampler(np.arange(40), 0), 1.0)}
    own, others = positive.astype(np.float64) - offset, negative.astype(np.float64) - offset
    pooled = np.sqrt((own.var() + others.var()) / 2)
    assert found["gap.swap"] == pytest.approx(others.mean() - own.mean(), abs=1e-6)
    assert found["gap_std.swap"] == pytest.approx((others.mean() - own.mean()) / pooled, rel=1e-6)


def test_a_spread_of_rounding_alone_has_no_gap() -> None:
    negative = np.full((4, 3), 1e6, dtype=np.float32)
    negative[0, 0] = np.nextafter(np.float32(1e6), np.float32(2e6))
    found = {m.name: m.value for m in _separation("x", negative[:, 0], negative, Resampler(np.arange(4), 0), 1.0)}
    assert found["gap_std.x"] == 0


def test_float64_stays_float64() -> None:
    """Energies whose differences float32 cannot hold beside their level are told apart in a float64 model."""
    place = torch.arange(N, dtype=torch.float64)
    batch = Batch(place[:, None], place[:, None, None], policy_actions=place[:, None, None])
    module = Level().double()
    given = Evidence(EnergyFunction(module, "test"), batch, batch, MeasuringSettings(swap_size=N))
    assert given.swap.energy.dtype == given.positive.dtype == given.expert_gradient.gradient.dtype == torch.float64
    assert measure(given)["auroc.swap"].value == 1
    assert measure(given)["gap_std.swap"].value == pytest.approx(measure(evidence())["gap_std.swap"].value)


class Level(nn.Module):
    """A squared distance, one part in 10⁹ of the level that it stands on."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(1e9))

    def forward(self, hidden: Tensor, actions: Tensor, _mask: Tensor | None) -> Tensor:
        return (actions[:, 0] - hidden).square().sum(dim=1) + self.level


@pytest.mark.parametrize("tau", [0.05, 0.5, 3.0])
@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_coupling_and_effective_negatives_against_a_loop(tau: float, shift: float) -> None:
    generator = np.random.default_rng(0)
    positive, negative = shift + generator.normal(size=6), shift + generator.normal(size=(6, 9))
    coupled, effective = coupling(positive, negative, tau)
    for i in range(6):
        # energies from the lowest, so that none of the exponentials overflows
        low = min(positive[i], *negative[i])
        own, others = np.exp((low - positive[i]) / tau), np.exp((low - negative[i]) / tau)
        assert coupled[i] == pytest.approx(1 - own / (own + others.sum()), rel=1e-6, abs=1e-12)
        share = others / others.sum()
        assert effective[i] == pytest.approx(np.exp(-sum(p * np.log(p) for p in share if p > 0)), rel=1e-6)


def test_coupling_at_its_ends() -> None:
    coupled, effective = coupling(np.zeros(3), np.array([[0.0] * 4, [1e6] * 4, [-1e6, 0, 0, 0]]), 0.5)
    assert coupled.tolist() == pytest.approx([4 / 5, 0, 1])
    assert effective.tolist() == pytest.approx([4, 4, 1])


class Distance(nn.Module):
    """Squared distance between the action and what the context says it should be."""

    def forward(self, hidden: Tensor, actions: Tensor, _mask: Tensor | None) -> Tensor:
        return (actions[:, 0] - hidden[:, :2]).square().sum(dim=1)


N = 8


def evidence(wrong: int = 0, *, sign: str = "energy") -> Evidence:
    """Actions on a line, one apart; the contexts of the first ``wrong`` samples ask for their neighbour's action."""
    place = torch.arange(N, dtype=torch.float32)
    actions = torch.stack((place, torch.zeros(N)), dim=1)[:, None]
    asked = place.clone()
    asked[:wrong] += 1
    hidden = torch.stack((asked, torch.zeros(N), torch.ones(N)), dim=1)
    batch = Batch(hidden, actions, policy_actions=actions.clone(), negatives=actions[:, None] + 10)
    energy = EnergyFunction(Distance(), "test", sign=sign)  # type: ignore[arg-type]
    return Evidence(energy, batch, batch, MeasuringSettings(swap_size=N))


def measure(given: Evidence) -> dict[str, Measurement]:
    return {m.name: m for m in PROBE.measure(given).measurements}


def test_energies_are_the_hand_made_ones() -> None:
    given = evidence()
    place = given.swap.index[0].float()
    assert torch.equal(given.swap.energy[0], (place[:, None] - place[None]).square())
    assert torch.equal(given.positive, torch.zeros(N))


def test_a_perfect_model() -> None:
    found = measure(evidence())
    squares = [float((i - j) ** 2) for i in range(N) for j in range(N) if i != j]
    assert found["gap.swap"].value == pytest.approx(np.mean(squares))
    assert found["gap_std.swap"].value == pytest.approx(np.mean(squares) / np.sqrt(np.var(squares) / 2))
    assert [found[f"{name}.swap"].value for name in ("auroc", "top1", "mrr")] == [1, 1, 1]
    assert found["gap.supplied"].value == 200
    assert found["auroc.supplied"].value == 1
    assert "top1.supplied" not in found  # with one negative it says what AUROC says
    assert "effective_negatives.supplied" not in found
    assert found["npc.policy"].value == 0.5


def test_an_action_that_is_the_experts_own_is_a_tie() -> None:
    found = measure(evidence())
    assert (found["auroc.policy"].value, found["gap.policy"].value, found["gap_std.policy"].value) == (
        0.5,
        0,
        0,
    )


def test_contexts_that_ask_for_another_action() -> None:
    found = measure(evidence(wrong=2))
    # their own action loses to the one that is asked for and ties with the one beyond it
    lost = [(1 + 0.5) / (N - 1), (1 + 0.5) / (N - 1)]
    assert found["auroc.swap"].value == pytest.approx(1 - sum(lost) / N)
    assert found["top1.swap"].value == pytest.approx((N - 2) / N)
    assert found["mrr.swap"].value == pytest.approx((N - 2 + 2 / (1 + 1 + 0.5)) / N)


def test_a_score_given_as_energy_is_inverted_and_turned_round_is_not() -> None:
    assert measure(evidence(sign="score"))["auroc.swap"].value == 0
    assert measure(evidence(sign="score"))["gap.swap"].value < 0


def test_chance_beside_the_measured() -> None:
    found = measure(evidence())
    assert found["top1.swap.chance"].value == pytest.approx(1 / N)
    assert found["mrr.swap.chance"].value == pytest.approx(sum(1 / r for r in range(1, N + 1)) / N)


def test_coupling_is_that_of_the_training_temperature() -> None:
    given = evidence(wrong=2)
    wanted = coupling(given.swap.positive.numpy(), given.swap.negative.numpy(), given.settings.tau)
    found = measure(given)
    assert found["npc.swap"].value == pytest.approx(wanted[0].mean())
    assert found["effective_negatives.swap"].value == pytest.approx(wanted[1].mean())
    assert found["npc.swap"].ci95 is not None
    loss = torch.cat(
        [torch.nn.functional.cross_entropy(-t / 0.5, torch.arange(N)).reshape(1) for t in given.swap.energy]
    )
    assert found["npc.swap"].value <= 1 - float(torch.exp(-loss.mean())) + 1e-6  # Jensen


def test_several_negatives_of_a_source_are_ranked() -> None:
    given = evidence()
    several = replace(given.batch, negatives=given.batch.actions[:, None] + torch.tensor([1.0, 2.0])[:, None, None])
    found = measure(Evidence(given.energy, several, several, given.settings))
    for family in ("gap", "gap_std", "auroc", "top1", "mrr", "npc", "effective_negatives"):
        assert f"{family}.supplied" in found
    own, others = 1.0, np.exp([-2 / 0.5, -8 / 0.5])
    assert found["npc.supplied"].value == pytest.approx(others.sum() / (own + others.sum()))


def test_what_the_dump_cannot_feed_is_skipped_by_name() -> None:
    skipped = {s.name: s.reason for s in PROBE.measure(evidence()).skipped}
    assert skipped == {"separation.layers": "the dump has no `layer_actions`"}


def test_every_context_meets_every_other_of_its_set_once() -> None:
    given = evidence()
    size = Pairs(given.batch.hidden, given.batch.actions, None, shared=True).candidates
    assert given.swap.negative.shape == (N, size - 1)
    assert sorted(given.swap.index.reshape(-1).tolist()) == list(range(N))


@pytest.mark.parametrize("offset", [0.0, -3.0, 2.0**20])
def test_mean_and_spread_of_all_energies_are_those_of_a_loop(offset: float) -> None:
    class Shifted(Distance):
        def forward(self, hidden: Tensor, actions: Tensor, mask: Tensor | None) -> Tensor:
            return super().forward(hidden, actions, mask) + offset

    plain = evidence(wrong=2)
    given = Evidence(EnergyFunction(Shifted(), "test"), plain.batch, plain.batch, MeasuringSettings(swap_size=N))
    found = {m.name: m for m in saturation.PROBE.measure(given).measurements}
    asked = [i + (i < 2) for i in range(N)]
    energies = [(i - j) ** 2 + offset for i in asked for j in range(N)]
    assert found["head.energy_mean"].value == pytest.approx(np.mean(energies))
    assert found["head.energy_std"].value == pytest.approx(np.std(energies, ddof=1))
    assert found["head.energy_spread"].value == pytest.approx(np.std(energies) / 0.5)
    low, high = found["head.energy_spread"].ci95 or (0, 0)
    assert 0 < low < found["head.energy_spread"].value < high
