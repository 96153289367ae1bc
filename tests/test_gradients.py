"""Gradients against plain autograd, one pair or one row at a time, and against finite differences."""

from __future__ import annotations

import pytest
import torch
from parts import ACTION, CONTEXT, STEPS, ConcatMLP, make_batch, make_head, pooled
from torch import Tensor, nn

from energydiag.energies.gradients import action_gradients, parameter_gradients
from energydiag.energies.pairs import Pairs
from energydiag.heads import PUBLISHED
from energydiag.losses import info_nce_per_row
from energydiag.models.energy_function import EnergyFunction

TAU = 0.3


class LooksAtMask(ConcatMLP):
    """Cannot be batched over pairs."""

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        return super().forward(hidden, actions, pad_mask if pad_mask is not None and pad_mask.any() else None)


class NothingBefore(nn.Module):
    """Linear layers and attention directly on the inputs, where parameters alone are differentiated."""

    def __init__(self) -> None:
        super().__init__()
        self.key, self.value = nn.Linear(CONTEXT, 6), nn.Linear(CONTEXT, 6)
        self.query, self.out = nn.Linear(ACTION, 6), nn.Linear(6, 1)

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        mask = None if pad_mask is None else ~pad_mask[:, None]
        seen = nn.functional.scaled_dot_product_attention(
            self.query(actions), self.key(hidden), self.value(hidden), mask
        )
        return self.out(seen.tanh()).sum(dim=(1, 2))


class IgnoresAction(nn.Module):
    """An energy of the context alone."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(CONTEXT, 1)

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        return self.net(pooled(hidden, pad_mask)).squeeze(-1) + 0 * len(actions)


def swap_pairs(samples: int = 5, *, shared: bool = True) -> Pairs:
    """In float64, where rounding hides nothing."""
    batch = make_batch(samples)
    candidates = batch.actions if shared else batch.layer_actions
    return Pairs(batch.hidden.double(), candidates.double(), batch.pad_mask, shared)


MODELS = {
    **{name: lambda name=name: make_head(name).double() for name in (form.name for form in PUBLISHED)},
    "concat": lambda: ConcatMLP().double(),
    "nothing before": lambda: NothingBefore().double(),
    "by rows": lambda: LooksAtMask().double(),
}


def energy_of(model: nn.Module) -> EnergyFunction:
    return EnergyFunction(model, "test")


def pair(pairs: Pairs, row: int, column: int) -> tuple[Tensor, Tensor, Tensor]:
    """The inputs of one pair, as a batch of one."""
    assert pairs.pad_mask is not None
    action = pairs.actions[column] if pairs.shared else pairs.actions[row, column]
    return pairs.hidden[row : row + 1], action[None].clone(), pairs.pad_mask[row : row + 1]


def largest_difference(got: Tensor, wanted: Tensor) -> float:
    """Relative to the largest entry."""
    assert got.shape == wanted.shape
    return float((got - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("budget", [1, 1 << 30])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_action_gradients_equal_autograd_of_every_pair(name: str, shared: bool, budget: int) -> None:
    model, pairs = MODELS[name](), swap_pairs(shared=shared)
    found = action_gradients(energy_of(model), pairs, budget)
    assert found.gradient.shape == (pairs.contexts, pairs.candidates, STEPS, ACTION)
    for row in range(pairs.contexts):
        for column in range(pairs.candidates):
            hidden, action, mask = pair(pairs, row, column)
            energy = model(hidden, action.requires_grad_(), mask).sum()
            (wanted,) = torch.autograd.grad(energy, action)
            assert float(energy.detach()) == pytest.approx(float(found.energy[row, column]), rel=1e-9)
            assert largest_difference(found.gradient[row, column], wanted[0]) < 1e-9


def test_action_gradients_equal_finite_differences() -> None:
    model, pairs, width = make_head().double(), swap_pairs(3), 1e-6
    found = action_gradients(energy_of(model), pairs).gradient[1, 2]
    hidden, action, mask = pair(pairs, 1, 2)
    with torch.no_grad():
        for entry in range(action.numel()):
            bump = torch.zeros_like(action)
            bump.view(-1)[entry] = width
            slope = (model(hidden, action + bump, mask) - model(hidden, action - bump, mask)) / (2 * width)
            assert float(found.reshape(-1)[entry]) == pytest.approx(float(slope), rel=1e-5, abs=1e-8)


def test_a_model_that_ignores_the_action_has_no_action_gradient() -> None:
    found = action_gradients(energy_of(IgnoresAction()), swap_pairs())
    assert found.gradient.shape == (5, 5, STEPS, ACTION)
    assert not found.gradient.any()


def test_action_gradients_of_a_score_point_the_other_way() -> None:
    model, pairs = make_head(), swap_pairs()
    score = action_gradients(EnergyFunction(model, "test", sign="score"), pairs).gradient
    assert torch.equal(score, -action_gradients(energy_of(model), pairs).gradient)


@pytest.mark.parametrize("budget", [1, 1 << 30])
@pytest.mark.parametrize("name", MODELS)
def test_parameter_gradients_equal_plain_backward_passes(name: str, budget: int) -> None:
    model, pairs = MODELS[name](), swap_pairs()
    found = parameter_gradients(energy_of(model), pairs, TAU, budget)
    table = torch.stack(
        [
            torch.cat([model(*pair(pairs, i, j)).reshape(1) for j in range(pairs.candidates)])
            for i in range(pairs.contexts)
        ]
    )
    loss = info_nce_per_row(table, TAU)
    torch.testing.assert_close(found.loss, loss.detach(), rtol=1e-9, atol=0)
    for row in range(pairs.contexts):
        model.zero_grad()
        loss[row].backward(retain_graph=True)
        wanted = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm()
        assert float(found.sample_norm[row]) == pytest.approx(float(wanted), rel=1e-9)
    model.zero_grad()
    loss.mean().backward()
    assert set(found.by_parameter) == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        wanted = 0.0 if parameter.grad is None else float(parameter.grad.norm())
        assert found.by_parameter[name] == pytest.approx(wanted, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("model", [ConcatMLP(), LooksAtMask()], ids=lambda m: type(m).__name__)
def test_frozen_parameters_are_measured_and_stay_frozen(model: ConcatMLP) -> None:
    model.net[0].weight.requires_grad_(False)
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    found = parameter_gradients(energy_of(model), swap_pairs(), TAU)
    action_gradients(energy_of(model), swap_pairs())
    assert found.by_parameter["net.0.weight"] > 0
    assert {name: p.requires_grad for name, p in model.named_parameters()} == before
    assert all(p.grad is None for p in model.parameters())


def test_parameters_are_unfrozen_again_where_the_model_raises() -> None:
    model = make_head()
    with pytest.raises(Exception, match="raised"):
        action_gradients(
            energy_of(model), Pairs(torch.randn(2, 3, 1), torch.randn(2, STEPS, ACTION), None, shared=True)
        )
    assert all(p.requires_grad for p in model.parameters())
