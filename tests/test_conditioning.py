"""What the energy listens to, on energies that are deaf in a known way; numbers against loops over single samples."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from parts import (
    ACTION,
    CONTEXT,
    SAMPLES,
    STEPS,
    evidence,
    make_batch,
    make_head,
    numbers_of,
    pooled,
    reasons_of,
    single,
)
from torch import Tensor, nn

from energydiag.batch import Batch
from energydiag.models.cross_attention import CrossAttentionEnergy
from energydiag.probes.conditioning import (
    PROBE,
    SCALE,
    SHIFT,
    as_long_noise,
    changed_actions,
    interaction_squares,
    shuffling_effects,
)
from energydiag.probes.effects import energy_spread

measure, skipped = partial(numbers_of, PROBE), partial(reasons_of, PROBE)


class Of(nn.Module):
    """An energy from a part for the context and a part for the action."""

    def __init__(self, *, context: bool, action: bool, together: bool = False) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.of_context, self.of_action = nn.Linear(CONTEXT, 4), nn.Linear(STEPS * ACTION, 4)
        self.context, self.action, self.together = context, action, together

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        h, a = self.of_context(pooled(hidden, pad_mask)), self.of_action(actions.flatten(1))
        if self.together:
            return (h * a).sum(dim=1)
        return (self.context * h + self.action * a).sum(dim=1)


def test_shuffling_and_interaction_against_a_loop() -> None:
    table = torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(0))
    by_context, by_action = shuffling_effects(table)
    left = interaction_squares(table)
    for k in range(2):
        values = table[k].double().numpy()
        for i in range(5):
            others = [j for j in range(5) if j != i]
            assert by_context[5 * k + i] == pytest.approx(np.mean([abs(values[j, i] - values[i, i]) for j in others]))
            assert by_action[5 * k + i] == pytest.approx(np.mean([abs(values[i, j] - values[i, i]) for j in others]))
            rest = [values[i, j] - values[i].mean() - values[:, j].mean() + values.mean() for j in range(5)]
            assert left[5 * k + i] == pytest.approx(np.mean(np.square(rest)))


def test_use_is_relative_to_the_spread_over_swap_pairs() -> None:
    given = evidence(make_head())
    spread = float(given.swap.energy.double().numpy().std())
    by_context, by_action = shuffling_effects(given.swap.energy)
    found = measure(given)
    assert found["context_use"].value == pytest.approx(by_context.mean() / spread)
    assert found["action_use"].value == pytest.approx(by_action.mean() / spread)
    assert found["interaction"].value == pytest.approx(np.sqrt(interaction_squares(given.swap.energy).mean()) / spread)


@pytest.mark.parametrize(
    ("model", "uses_context", "uses_action", "interacts"),
    [
        (Of(context=False, action=True), False, True, False),
        (Of(context=True, action=False), True, False, False),
        (Of(context=True, action=True), True, True, False),
        (Of(context=True, action=True, together=True), True, True, True),
    ],
    ids=["ignores the context", "ignores the action", "adds them", "multiplies them"],
)
def test_what_is_ignored_is_told_apart(
    model: nn.Module, uses_context: bool, uses_action: bool, interacts: bool
) -> None:
    found = measure(evidence(model))
    for name, used in (("context_use", uses_context), ("action_use", uses_action), ("interaction", interacts)):
        value = found[name].value
        assert value > 0.3 if used else value == pytest.approx(0, abs=1e-5), name


def test_a_constant_energy_uses_nothing_and_the_rest_is_skipped() -> None:
    given = evidence(Of(context=False, action=False))
    assert {name: m.value for name, m in measure(given).items()} == {
        "context_use": 0,
        "action_use": 0,
        "interaction": 0,
    }
    assert "the same everywhere" in skipped(given)["conditioning"]


def test_a_spread_below_the_rounding_is_none() -> None:
    assert energy_spread(torch.full((2, 3, 3), 0.1)) == 0
    assert energy_spread(1e6 + 1e-3 * torch.randn(1, 9, 9)) == 0
    assert energy_spread(1e6 + 1e-3 * torch.randn(1, 9, 9).double()) > 0
    assert energy_spread(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])) == pytest.approx(np.std([1, 2, 3, 4]))


def test_changed_actions_against_a_loop() -> None:
    actions = make_batch(3).actions
    changed = changed_actions(actions)
    every = [float(v) for v in actions.reshape(-1)]
    for i in range(3):
        for t in range(STEPS):
            for d in range(ACTION):
                value = float(actions[i, t, d])
                assert float(changed["scale"][i, t, d]) == pytest.approx(SCALE * value)
                assert float(changed["shift"][i, t, d]) == pytest.approx(value + SHIFT * np.std(every), abs=1e-6)
                assert float(changed["sign"][i, t, d]) == -value
                assert float(changed["permutation"][i, t, d]) == float(actions[i, STEPS - 1 - t, d])


def test_noise_is_as_long_as_the_change_in_every_sample() -> None:
    way = torch.randn(5, STEPS, ACTION, generator=torch.Generator().manual_seed(0)) * torch.arange(5)[:, None, None]
    noise = as_long_noise(way, torch.Generator().manual_seed(1))
    for one, other in zip(noise, way, strict=True):
        assert float(one.norm()) == pytest.approx(float(other.norm()), abs=1e-6)


def test_blind_effects_against_a_loop() -> None:
    given = evidence(make_head())
    batch, spread = given.batch, energy_spread(given.swap.energy)
    changed = changed_actions(batch.actions)
    generator = torch.Generator().manual_seed(601)
    found = measure(given)
    for name, actions in changed.items():
        noisy = batch.actions + as_long_noise(actions - batch.actions, generator)
        own = [single(given.energy.module, batch, i) for i in range(SAMPLES)]
        by_change, by_noise = (
            np.mean([abs(single(given.energy.module, batch, i, actions=a[i]) - own[i]) for i in range(SAMPLES)])
            for a in (actions, noisy)
        )
        assert found[f"blind.{name}"].value == pytest.approx(by_change / spread, abs=1e-4)
        assert found[f"blind.{name}.against_noise"].value == pytest.approx(by_change / by_noise, abs=1e-3)
    least = min(found[f"blind.{name}"].value for name in changed)
    assert found["blind.min"].value == least


@pytest.mark.parametrize("normalise", [True, False])
def test_a_layer_norm_over_the_raw_action_hides_scale_and_shift(normalise: bool) -> None:
    torch.manual_seed(0)
    model = CrossAttentionEnergy(CONTEXT, ACTION, hidden=16, nhead=2, head="linear", normalise_actions=normalise)
    found = measure(evidence(model))
    for name in ("scale", "shift"):
        effect, compared = found[f"blind.{name}"].value, found[f"blind.{name}.against_noise"].value
        assert max(effect, compared) < 2e-4 if normalise else effect > 3e-3 and compared > 0.2, name
    assert found["blind.sign.against_noise"].value > 0.2
    assert (found["blind.min"].value < 2e-4) == normalise


class Even(Of):
    """Sees neither the order of the steps nor the action's sign."""

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        return super().forward(hidden, actions.square().mean(dim=1, keepdim=True).expand_as(actions), pad_mask)


def test_a_model_that_sees_neither_order_nor_sign() -> None:
    found = measure(evidence(Even(context=True, action=True, together=True)))
    for name in ("permutation", "sign"):
        assert found[f"blind.{name}"].value == pytest.approx(0, abs=1e-5)
        assert found[f"blind.{name}.against_noise"].value == pytest.approx(0, abs=1e-5)
    assert found["blind.scale"].value > 0.05


def test_a_model_that_ignores_the_action_is_not_compared_with_noise() -> None:
    given = evidence(Of(context=True, action=False))
    assert measure(given)["blind.min"].value == 0
    assert "does not change the energy either" in skipped(given)["blind.scale.against_noise"]


class Flat(nn.Module):
    """For actions without steps."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(CONTEXT + ACTION, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        answer: Tensor = self.net(torch.cat((pooled(hidden, pad_mask), actions), dim=1))
        return answer


def test_actions_without_steps_have_no_order() -> None:
    batch = make_batch(SAMPLES)
    given = evidence(Flat(), Batch(batch.hidden, batch.actions[:, 0], batch.pad_mask))
    assert "no steps" in skipped(given)["blind.permutation"]
    assert measure(given)["blind.scale"].value > 0


def test_every_average_has_an_interval_and_the_same_seed_gives_the_same() -> None:
    found = measure(evidence(make_head()))
    assert all(m.ci95 is not None and m.unit == "1" for m in found.values())
    assert found == measure(evidence(make_head()))
    assert found != measure(evidence(make_head(), seed=1))
