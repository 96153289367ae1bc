"""The field around the expert's action, on energies whose field is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from parts import ACTION, STEPS, make_batch
from scipy.stats import spearmanr
from torch import Tensor, nn

from energydiag.batch import Batch
from energydiag.energies.descent import directions, follow, step_down
from energydiag.models.energy_function import EnergyFunction
from energydiag.pipeline import inspect
from energydiag.probes.field import best_length, rank_correlation, relative_fall
from energydiag.results import Diagnosis
from energydiag.statistics import Resampler


class Distance(nn.Module):
    """``factor`` times the Euclidean distance from the action that the first context token holds."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, hidden: Tensor, actions: Tensor, _mask: Tensor | None = None) -> Tensor:
        wanted = hidden[:, 0, : STEPS * ACTION].reshape(actions.shape)
        return self.factor * (actions - wanted).flatten(1).norm(dim=1)


def told(samples: int = 40) -> Batch:
    """A batch whose contexts hold the expert's action, with a policy that errs a little."""
    batch = make_batch(samples)
    policy = batch.actions + 0.1 * torch.randn(batch.actions.shape, generator=torch.Generator().manual_seed(5))
    hidden = torch.stack((batch.actions.flatten(1), torch.zeros(samples, STEPS * ACTION)), dim=1)
    return Batch(hidden, batch.actions, policy_actions=policy, episode=batch.episode)


def value(diagnosis: Diagnosis, name: str) -> float:
    found = diagnosis.measurement(name)
    assert found is not None, name
    return found.value


def test_a_perfect_field() -> None:
    found = inspect(EnergyFunction(Distance(), "own"), told())
    for name in ("policy", "noise_0.05", "noise_0.15", "noise_0.3"):
        assert value(found, f"field.alignment.{name}") == pytest.approx(1, abs=1e-4)
    assert value(found, "field.spearman") == pytest.approx(1, abs=1e-6)
    assert value(found, "field.monotonicity_violations") == 0
    assert value(found, "field.trust_ratio") == pytest.approx(1, abs=1e-3)
    assert value(found, "field.spurious_minimum_rate") == 0
    assert value(found, "field.correction_gain.k1") == pytest.approx(0.4, abs=0.02)
    # in units of the mean error, one step of .4 or four of .2 go straight towards the expert
    assert value(found, "field.correction_gain.k4") == pytest.approx(0.8, abs=0.03)
    assert found.verdict != "critical"


def test_an_inverted_field() -> None:
    found = inspect(EnergyFunction(Distance(-1.0), "own"), told())
    assert value(found, "field.alignment.policy") == pytest.approx(-1, abs=1e-4)
    assert value(found, "field.spearman") == pytest.approx(-1, abs=1e-6)
    assert value(found, "field.monotonicity_violations") == 1
    assert value(found, "field.correction_gain.k8") < 0
    assert value(found, "field.spurious_minimum_rate") > 0.6


class Constant(Distance):
    """The same energy everywhere, with a gradient of zero."""

    def forward(self, _hidden: Tensor, actions: Tensor, _mask: Tensor | None = None) -> Tensor:
        return self.factor + 0 * actions.sum(dim=(1, 2))


def test_a_flat_field() -> None:
    found = inspect(EnergyFunction(Constant(), "own"), told())
    reasons = {s.name: s.reason for s in found.skipped}
    assert value(found, "field.alignment.policy") == 0
    assert value(found, "field.spearman") == 0
    # a gain of exactly 0 would make every field that is learned instead look like harm
    for name in ("field.correction_gain.k8", "field.correction_energy.k1", "field.trust_ratio"):
        assert found.measurement(name) is None
        assert reasons[name].startswith("the gradient is zero")


def test_a_policy_without_error_has_gains_and_no_trust_ratio() -> None:
    batch = told()
    found = inspect(EnergyFunction(Bent(), "own"), replace(batch, policy_actions=batch.actions + 0.0))
    assert {s.name: s.reason for s in found.skipped}["field.trust_ratio"].startswith("the gradient is zero")
    other = EnergyFunction(Tilted(), "own")
    found = inspect(other, replace(batch, policy_actions=batch.actions + 0.0))
    assert {s.name: s.reason for s in found.skipped}["field.trust_ratio"].startswith("the policy's actions are")
    assert value(found, "field.correction_gain.k8") == 0


@pytest.mark.parametrize("scale", [1e-24, 1e-30, 1e20, 1e30])
def test_the_field_does_not_depend_on_the_energys_scale(scale: float) -> None:
    plain, scaled = (inspect(EnergyFunction(Bent(factor), "own"), told()) for factor in (1.0, scale))
    names = [m.name for m in plain.measurements if m.name.startswith("field.") and "energy" not in m.name]
    assert "field.correction_gain.k8" in names
    for name in names:
        assert value(scaled, name) == pytest.approx(value(plain, name), abs=0.02), name


@pytest.mark.parametrize("scale", [1e-30, 1e-24, 1.0, 1e25])
def test_a_step_has_its_length_whatever_the_gradients_size(scale: float) -> None:
    actions = torch.zeros(2, 3, STEPS, ACTION)
    stepped, _ = step_down(EnergyFunction(Tilted(scale), "own"), told(2).hidden, actions, None, torch.full((3,), 0.1))
    torch.testing.assert_close((stepped - actions).flatten(2).norm(dim=2), torch.full((2, 3), 0.1))


def test_no_gradient_has_no_direction_and_a_broken_one_stays_broken() -> None:
    gradient = torch.tensor([[[0.0, 0.0], [3e-24, -4e-24], [torch.nan, 1.0]]])
    found = directions(gradient)
    torch.testing.assert_close(found[0, :2], torch.tensor([[0.0, 0.0], [0.6, -0.8]]))
    assert bool(found[0, 2].isnan().all())


class Tilted(Distance):
    """A plane: its gradient is the same everywhere."""

    def forward(self, _hidden: Tensor, actions: Tensor, _mask: Tensor | None = None) -> Tensor:
        return (self.factor * actions).sum(dim=(1, 2))


def test_alignment_and_trust_against_a_loop() -> None:
    batch, model = told(), Bent()
    found = inspect(EnergyFunction(model, "own"), batch)
    assert batch.policy_actions is not None
    error = float(np.mean([float((p - a).norm()) for p, a in zip(batch.policy_actions, batch.actions, strict=True)]))
    cosines, ratios = [], []
    for hidden, policy, expert in zip(batch.hidden, batch.policy_actions, batch.actions, strict=True):
        leaf = policy[None].clone().requires_grad_(True)
        before = model(hidden[None], leaf)
        gradient = torch.autograd.grad(before.sum(), leaf)[0][0]
        cosines.append(float((-gradient * (expert - policy)).sum() / gradient.norm() / (expert - policy).norm()))
        after = model(hidden[None], policy[None] - 0.1 * error * gradient[None] / gradient.norm())
        ratios.append(float((before - after).detach() / (0.1 * error * gradient.norm())))
    assert value(found, "field.alignment.policy") == pytest.approx(np.mean(cosines), abs=1e-5)
    assert value(found, "field.trust_ratio") == pytest.approx(np.quantile(ratios, 0.5, method="inverted_cdf"), abs=1e-3)


class Bent(Distance):
    """A squared distance that counts some dimensions more than others: its gradient points past the expert."""

    def forward(self, hidden: Tensor, actions: Tensor, _mask: Tensor | None = None) -> Tensor:
        wanted = hidden[:, 0, : STEPS * ACTION].reshape(actions.shape)
        return self.factor * ((actions - wanted) * torch.tensor([1.0, 2.0, 3.0])).square().sum(dim=(1, 2))


def test_follow_against_a_plain_loop() -> None:
    batch, model = told(6), Distance(2.0)
    lengths = torch.tensor([0.05, 0.2])
    path = follow(
        EnergyFunction(model, "own"),
        batch.hidden,
        batch.policy_actions[:, None].expand(-1, 2, -1, -1),
        None,
        lengths,
        3,
    )  # type: ignore[index]
    for start, length in enumerate(lengths):
        actions = batch.policy_actions
        for k in range(4):
            assert actions is not None
            torch.testing.assert_close(path.actions[k, :, start], actions)
            torch.testing.assert_close(path.energy[k, :, start], model(batch.hidden, actions).detach())
            leaf = actions.clone().requires_grad_(True)
            gradient = torch.autograd.grad(model(batch.hidden, leaf).sum(), leaf)[0]
            actions = actions - length * gradient / gradient.flatten(1).norm(dim=1)[:, None, None]


def test_rank_correlation_against_scipy() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 4, size=(20, 9)).astype(float), generator.normal(size=(20, 9))
    wanted = [spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(rank_correlation(x, y), wanted)
    assert rank_correlation(np.ones((1, 5)), y[:1, :5])[0] == 0
    assert np.isnan(rank_correlation(np.array([[1.0, np.nan, 2.0]]), y[:1, :3])[0])


def test_the_length_is_chosen_on_the_other_half() -> None:
    error = np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0], [2.0, 1.0]])
    half = np.array([False, False, True, True])
    assert best_length(error, half).tolist() == [1, 1, 0, 0]


def test_relative_fall() -> None:
    before, after = np.array([1.0, 3.0]), np.array([0.5, 2.5])
    assert relative_fall(Resampler(np.arange(2), 0), before, after).value == pytest.approx(0.25)
    assert relative_fall(Resampler(np.arange(2), 0), np.zeros(2), after).value == 0
