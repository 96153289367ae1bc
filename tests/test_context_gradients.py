"""What of the context decides between two actions, against a loop of autograd over single samples."""

from __future__ import annotations

import math

import pytest
import torch
from parts import make_batch
from torch import Tensor, nn

from energydiag.models.energy_function import EnergyFunction
from energydiag.probes.context_gradients import PROBE, direction_rank
from energydiag.probes.evidence import Evidence, MeasuringSettings

SAMPLES = 24


class Bilinear(nn.Module):
    """E = Σ_k (w_k · mean(h)) · tanh(v_k · a), with as many k as asked for; ``context`` is what h is multiplied by."""

    def __init__(self, directions: int, context: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.of_context, self.of_action = nn.Linear(12, directions), nn.LazyLinear(directions)
        self.context = context

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        shown = torch.ones(hidden.shape[:2]) if pad_mask is None else (~pad_mask).float()
        mean = (hidden * shown[..., None]).sum(dim=1) / shown.sum(dim=1, keepdim=True)
        return (self.of_context(mean * self.context) * self.of_action(actions.flatten(1)).tanh()).sum(dim=1)


class Sum(Bilinear):
    """E = f(h) + g(a): contexts move all energies together."""

    def forward(self, hidden: Tensor, actions: Tensor, _mask: Tensor | None = None) -> Tensor:
        return self.of_context(hidden.mean(dim=1)).sum(dim=1) + self.of_action(actions.flatten(1)).tanh().sum(dim=1)


def found(model: nn.Module, budget: int = 1 << 28) -> dict[str, float]:
    batch = make_batch(SAMPLES)
    model(batch.hidden[:2], batch.actions[:2])
    energy = EnergyFunction(model.eval(), "test", {})
    answer = PROBE.measure(Evidence(energy, batch, batch, MeasuringSettings(memory_budget=budget)))
    return {m.name.removeprefix("gradient.context."): m.value for m in answer.measurements}


def test_the_rank_is_that_of_a_loop() -> None:
    model, batch = Bilinear(5), make_batch(SAMPLES)
    got = found(model)
    rows = []
    for i in range(SAMPLES):
        h = batch.hidden[i : i + 1].clone().requires_grad_()
        mask = None if batch.pad_mask is None else batch.pad_mask[i : i + 1]
        difference = model(h, batch.actions[i - 1][None], mask) - model(h, batch.actions[i : i + 1], mask)
        difference.backward()
        assert h.grad is not None
        one = h.grad[0].sum(dim=0).double()
        rows.append(one / one.norm())
    share = torch.linalg.svdvals(torch.stack(rows))
    share = share[share > 1e-5] / share[share > 1e-5].sum()
    assert got["effective_rank"] == pytest.approx(math.exp(-sum(p * math.log(p) for p in share.tolist())), rel=1e-4)
    assert got["zero_fraction"] == 0
    assert found(model, budget=20_000) == pytest.approx(got, rel=1e-5)


def test_one_number_between_context_and_energy_is_one_direction() -> None:
    assert found(Bilinear(1))["effective_rank"] == pytest.approx(1)


@pytest.mark.parametrize("model", [Bilinear(5, context=0.0), Sum(3)])
def test_a_context_that_cannot_change_the_order(model: nn.Module) -> None:
    assert found(model) == {"zero_fraction": 1.0}


def test_ranks_of_known_directions() -> None:
    assert direction_rank(torch.eye(7)) == pytest.approx(7)
    assert direction_rank(torch.diag(torch.tensor([1.0, 1e6, 1e-6]))) == pytest.approx(3)  # lengths do not matter
    assert direction_rank(torch.zeros(4, 3)) is None
