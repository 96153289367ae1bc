"""Operations on models, built-in and user-written, and the same done again when a repaired checkpoint is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from parts import ACTION, CONTEXT, make_batch, make_head
from torch import Tensor, nn
from torch.nn import functional

from energydiag.energies import pairwise_energies
from energydiag.errors import UsageError
from energydiag.heads import ACTIVATIONS, POOLINGS, head_form, stated_form
from energydiag.models.energy_function import EnergyFunction, Sign
from energydiag.models.energy_head import activate
from energydiag.models.surgery import dissect, operate, unresettable
from energydiag.pipeline import load_checkpoint
from energydiag.pipeline.arms import save_repaired


class Own(nn.Module):
    """A user's model: pooled context, a norm over the raw action, a tanh at the end."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.norm = nn.LayerNorm(ACTION)
        self.first = nn.Linear(CONTEXT + ACTION, 8)
        self.last = nn.Linear(8, 1)

    def raw(self, hidden: Tensor, actions: Tensor) -> Tensor:
        context = hidden.mean(1, keepdim=True).expand(-1, actions.shape[1], -1)
        return self.last(functional.silu(self.first(torch.cat((context, self.norm(actions)), dim=-1))))

    def forward(self, hidden: Tensor, actions: Tensor, _mask: Tensor | None = None) -> Tensor:
        return (1.1 + torch.tanh(0.25 * self.raw(hidden, actions))).mean(dim=(1, 2))


class OwnScore(Own):
    """The same, answering with scores."""

    def forward(self, hidden: Tensor, actions: Tensor, mask: Tensor | None = None) -> Tensor:
        return -super().forward(hidden, actions, mask)


def user(sign: Sign = "energy") -> EnergyFunction:
    return EnergyFunction((Own() if sign == "energy" else OwnScore()).eval(), f"{__file__}:Own", {}, sign)


INPUTS = (make_batch().hidden, make_batch().actions, make_batch().pad_mask)


@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("sign", ["energy", "score"])
def test_a_users_head_is_replaced_at_work(kind: str, sign: Sign) -> None:
    energy = user(sign)
    raw = energy.module.raw(*INPUTS[:2])  # type: ignore[operator]
    operated = operate(energy, [f"head={kind}"], dissect(energy, *INPUTS))
    torch.testing.assert_close(operated(*INPUTS), activate(ACTIVATIONS[kind], raw).mean(dim=(1, 2)))
    table = pairwise_energies(operated, *INPUTS)
    torch.testing.assert_close(table.diagonal(), operated(*INPUTS))


@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("pool", POOLINGS)
def test_another_activation_leaves_the_pooling_of_a_built_in_head(kind: str, pool: str) -> None:
    before, after = head_form("original", pool), head_form(kind, pool)
    energy = EnergyFunction(make_head(before), "cross-attention", before.settings)
    operated = operate(energy, [f"head={kind}"], dissect(energy, *INPUTS))
    torch.testing.assert_close(operated(*INPUTS), make_head(after)(*INPUTS))
    assert stated_form(operated.settings) == after


def test_anatomy() -> None:
    built_in = EnergyFunction(make_head("original"), "cross-attention")
    found = dissect(built_in, *INPUTS)
    assert found.action_norm == "action_linear.layer_norm1"
    assert found.last_layer == "prediction_head.fc2"
    own = dissect(user(), *INPUTS)
    assert (own.action_norm, own.last_layer) == ("norm", "last")


def test_negate_turns_the_sign_and_nothing_else() -> None:
    energy = user()
    turned = operate(energy, ["negate"], dissect(energy, *INPUTS))
    torch.testing.assert_close(turned(*INPUTS), -energy(*INPUTS))
    again = operate(turned, ["negate"], dissect(turned, *INPUTS))
    torch.testing.assert_close(again(*INPUTS), energy(*INPUTS))


def test_a_turned_mask_is_what_the_module_would_have_been_given_and_is_loaded_again(tmp_path: Path) -> None:
    hidden, actions, mask = make_batch(6).hidden, make_batch(6).actions, make_batch(6).pad_mask
    energy = EnergyFunction(make_head("linear"), "cross-attention", {"head": "linear", "nhead": "2"})
    turned = operate(energy, ["turn-mask"], dissect(energy, *INPUTS))
    mask[:, 0] = True  # type: ignore[index]  # no sample without a hidden token
    expected = energy(hidden, actions, ~mask)  # type: ignore[operator]
    torch.testing.assert_close(turned(hidden, actions, mask), expected)
    torch.testing.assert_close(turned(hidden, actions, None), energy(hidden, actions, None))
    path = save_repaired(turned, (), tmp_path / "repaired.safetensors", {})
    torch.testing.assert_close(load_checkpoint(path)(hidden, actions, mask), expected)


@pytest.mark.parametrize("operation", ["reinitialise-last-layer", "fresh-weights"])
def test_fresh_weights_come_from_the_seed(operation: str) -> None:
    weights = []
    for seed in (1, 1, 2):
        energy = user()
        operate(energy, [operation], dissect(energy, *INPUTS), seed)
        weights.append(energy.module.last.weight.detach().clone())  # type: ignore[union-attr]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_fresh_weights_are_those_of_a_new_model_and_leave_frozen_ones() -> None:
    energy = EnergyFunction(make_head("original"), "cross-attention")
    norm = energy.module.prediction_head.layer_norm1
    with torch.no_grad():
        for parameter in energy.module.parameters():
            parameter.add_(1000)
    frozen = energy.module.state_linear.requires_grad_(requires_grad=False).fc1.weight.clone()
    operate(energy, ["fresh-weights"], dissect(energy, *INPUTS))
    assert torch.equal(norm.weight, torch.ones_like(norm.weight))
    assert torch.equal(energy.module.state_linear.fc1.weight, frozen)
    trained = [p for p in energy.module.parameters() if p.requires_grad]
    assert all(bool((p.abs() <= 1).all()) for p in trained)


@pytest.mark.parametrize("operation", ["reinitialise-last-layer", "remove-norm"])
def test_operations_after_a_new_head_find_the_layers_under_it(operation: str, tmp_path: Path) -> None:
    energy = user()
    operated = operate(energy, ["head=softplus", operation], dissect(energy, *INPUTS))
    other = user()
    expected = operate(other, [operation, "head=softplus"], dissect(other, *INPUTS))
    torch.testing.assert_close(operated(*INPUTS), expected(*INPUTS))
    # and on a model that came with the new head, whose paths are told as before
    assert dissect(operated, *INPUTS).last_layer == "last"
    again = operate(operated, ["reinitialise-last-layer", "head=linear"], dissect(operated, *INPUTS), seed=7)
    path = save_repaired(again, (), tmp_path / "repaired.safetensors", {})
    torch.testing.assert_close(load_checkpoint(path, model=f"{__file__}:Own")(*INPUTS), again(*INPUTS))


def test_modules_that_cannot_be_drawn_anew_are_named() -> None:
    class Scaled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(1))
            self.last = torch.nn.Linear(2, 1)

    assert unresettable(torch.nn.Sequential(torch.nn.Linear(2, 2), Scaled())) == ("1",)


@pytest.mark.parametrize("operation", ["remove-norm=nowhere", "remove-norm=first", "head=square", "amputate"])
def test_impossible_operations_are_told(operation: str) -> None:
    energy = user()
    with pytest.raises(UsageError):
        operate(energy, [operation], dissect(energy, *INPUTS))


def test_a_repaired_built_in_model_is_loaded_without_options(tmp_path: Path) -> None:
    energy = EnergyFunction(make_head("original"), "cross-attention", {"head": "original", "nhead": "2"})
    done = ["remove-norm=action_linear.layer_norm1", "head=linear", "negate"]
    operated = operate(energy, done, dissect(energy, *INPUTS))
    path = save_repaired(operated, (), tmp_path / "repaired.safetensors", {})
    torch.testing.assert_close(load_checkpoint(path)(*INPUTS), operated(*INPUTS))


def test_a_repaired_user_model_is_loaded_with_its_factory(tmp_path: Path) -> None:
    energy = user()
    operated = operate(energy, ["remove-norm=norm", "head=linear", "negate"], dissect(energy, *INPUTS))
    path = save_repaired(operated, (), tmp_path / "repaired.safetensors", {})
    torch.testing.assert_close(load_checkpoint(path, model=f"{__file__}:Own")(*INPUTS), operated(*INPUTS))
