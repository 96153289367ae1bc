"""What the energy listens to, on energies that are deaf in a known way; numbers against loops over single samples."""

from __future__ import annotations

import copy
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from parts import ACTION, CONTEXT, STEPS, ConcatMLP, make_batch, make_head, pooled
from torch import Tensor, nn

from energydiag.batch import Batch
from energydiag.models.cross_attention import CrossAttentionEnergy
from energydiag.models.energy_function import EnergyFunction
from energydiag.probes import Evidence, MeasuringSettings
from energydiag.probes.conditioning import (
    PROBE,
    SCALE,
    SHIFT,
    _pieces,
    as_long_noise,
    auroc_of,
    borrowed,
    changed_actions,
    energy_spread,
    garbage_effects,
    interaction_squares,
    shuffling_effects,
)
from energydiag.probes.separation import ranks
from energydiag.results import Measurement

SAMPLES = 12


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


class UpsideDown(ConcatMLP):
    """Takes a mask that says what is visible."""

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        return super().forward(hidden, actions, None if pad_mask is None else ~pad_mask)


class NoMask(ConcatMLP):
    """Looks at every token."""

    def forward(self, hidden: Tensor, actions: Tensor, _mask: Tensor | None = None) -> Tensor:
        return super().forward(hidden, actions, None)


def evidence(model: nn.Module, batch: Batch | None = None, seed: int = 0) -> Evidence:
    given = batch if batch is not None else half_padded()
    return Evidence(EnergyFunction(model.eval(), "test"), given, given, MeasuringSettings(swap_size=6, seed=seed))


def half_padded(samples: int = SAMPLES) -> Batch:
    """Every sample has hidden and visible tokens."""
    batch = make_batch(samples)
    mask = torch.zeros(batch.hidden.shape[:2], dtype=torch.bool)
    mask[:, 3:] = True
    return replace(batch, pad_mask=mask)


def measure(given: Evidence) -> dict[str, Measurement]:
    return {m.name.removeprefix("conditioning."): m for m in PROBE.measure(given).measurements}


def skipped(given: Evidence) -> dict[str, str]:
    return {s.name.removeprefix("conditioning."): s.reason for s in PROBE.measure(given).skipped}


def single(
    model: nn.Module, batch: Batch, index: int, hidden: Tensor | None = None, actions: Tensor | None = None
) -> float:
    """The energy of one sample, called alone."""
    h = batch.hidden[index] if hidden is None else hidden
    a = batch.actions[index] if actions is None else actions
    mask = None if batch.pad_mask is None else batch.pad_mask[index][None]
    dtype = next(model.parameters()).dtype
    with torch.no_grad():
        return float(model(h[None].to(dtype), a[None].to(dtype), mask).reshape(()))


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
    assert energy_spread(1e6 + 1e-3 * torch.randn(1, 9, 9).double()) == 0
    assert energy_spread(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])) == pytest.approx(np.std([1, 2, 3, 4]))


def test_garbage_against_a_loop() -> None:
    batch, model = half_padded(), NoMask()
    given = evidence(model, batch)
    found = garbage_effects(given, batch)
    noise = torch.randn(batch.hidden.shape, generator=torch.Generator().manual_seed(600))
    assert batch.pad_mask is not None
    for i in range(SAMPLES):
        visible = [t for t in range(batch.hidden.shape[1]) if not batch.pad_mask[i, t]]
        scale = np.sqrt(np.mean([float(batch.hidden[i, t, d]) ** 2 for t in visible for d in range(CONTEXT)]))
        for place, replaced in enumerate((True, False)):
            context = batch.hidden[i].clone()
            for t in range(batch.hidden.shape[1]):
                if bool(batch.pad_mask[i, t]) == replaced:
                    context[t] = scale * noise[i, t]
            wanted = abs(single(model, batch, i, hidden=context) - single(model, batch, i))
            assert found[i, place] == pytest.approx(wanted, abs=1e-5)


def test_pad_effect_is_the_mean_change_over_the_spread() -> None:
    given = evidence(NoMask())
    effects, spread = garbage_effects(given, given.batch), energy_spread(given.swap.energy)
    found = measure(given)
    assert found["pad_effect"].value == pytest.approx(effects[:, 0].mean() / spread)
    assert found["visible_effect"].value == pytest.approx(effects[:, 1].mean() / spread)
    assert found["inverted_mask"].value == pytest.approx(effects[:, 0].mean() / effects.sum(axis=1).mean())


def test_garbage_in_small_pieces_has_effects_of_the_same_size() -> None:
    given = evidence(NoMask())
    given.settings = replace(given.settings, memory_budget=1)
    assert garbage_effects(given, given.batch).mean(axis=0) == pytest.approx(
        garbage_effects(evidence(NoMask()), given.batch).mean(axis=0), rel=0.6
    )


@pytest.mark.parametrize("model", [make_head(), ConcatMLP()], ids=["attention", "mean"])
def test_a_mask_that_works(model: nn.Module) -> None:
    found = measure(evidence(model))
    assert found["pad_effect"].value == pytest.approx(0, abs=1e-6)
    assert found["visible_effect"].value > 0.05
    assert found["inverted_mask"].value == pytest.approx(0, abs=1e-5)


def test_a_mask_that_is_ignored_or_upside_down() -> None:
    ignored, turned = (measure(evidence(model)) for model in (NoMask(), UpsideDown()))
    assert ignored["pad_effect"].value > 0.05
    assert 0.2 < ignored["inverted_mask"].value < 0.8
    assert turned["pad_effect"].value > 0.05
    assert turned["visible_effect"].value == pytest.approx(0, abs=1e-6)
    assert turned["inverted_mask"].value == pytest.approx(1, abs=1e-5)


class AsTold(nn.Module):
    """Distance from the action that the visible tokens hold; ``turned`` where it takes the mask upside down."""

    def __init__(self, *, turned: bool = False, factor: float = 1.0) -> None:
        super().__init__()
        self.turned, self.factor = turned, nn.Parameter(torch.tensor(factor))

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        mask = ~pad_mask if self.turned and pad_mask is not None else pad_mask
        return self.factor * (pooled(hidden, mask) - actions.flatten(1)).norm(dim=1)


def told() -> Batch:
    """Visible tokens hold the expert's action, hidden ones noise."""
    batch = half_padded()
    hidden = batch.hidden.clone()
    hidden[:, :3] = batch.actions.flatten(1)[:, None]
    return replace(batch, hidden=hidden)


@pytest.mark.parametrize("factor", [1.0, -1.0])
def test_turning_the_mask_round_costs_what_a_right_mask_tells(factor: float) -> None:
    given = evidence(AsTold(factor=factor), told())
    part = given.batch.take(given.swap.index[0])
    assert part.pad_mask is not None
    table = torch.tensor(
        [
            [single(given.energy.module, replace(part, pad_mask=~part.pad_mask), i, actions=a) for a in part.actions]
            for i in range(len(part))
        ]
    )
    wanted = abs(auroc_of(table).mean() - 0.5) - 0.5
    found = measure(given)["turned_mask.auroc_gain"]
    assert found.value == pytest.approx(wanted)
    assert found.value < -0.1


def test_turning_the_mask_round_mends_what_is_upside_down() -> None:
    found = measure(evidence(AsTold(turned=True), told()))["turned_mask.auroc_gain"]
    assert found.value > 0.1


def test_auroc_of_a_table_is_that_of_its_rows() -> None:
    table = torch.randn(6, 6, generator=torch.Generator().manual_seed(2))
    rows = [
        ranks(table[i, i][None].numpy(), torch.cat((table[i, :i], table[i, i + 1 :]))[None].numpy()) for i in range(6)
    ]
    assert auroc_of(table).tolist() == [float(row[0][0]) for row in rows]


@pytest.mark.parametrize(
    ("batch", "reason"),
    [
        (replace(make_batch(SAMPLES), pad_mask=None), "no `pad_mask`"),
        (replace(make_batch(SAMPLES), pad_mask=torch.zeros(SAMPLES, 5, dtype=torch.bool)), "no token is hidden"),
        (replace(make_batch(SAMPLES), hidden=make_batch(SAMPLES).hidden[:, 0], pad_mask=None), "pooled"),
    ],
    ids=["no mask", "nothing hidden", "pooled"],
)
def test_without_hidden_tokens_the_mask_is_not_measured(batch: Batch, reason: str) -> None:
    given = evidence(ConcatMLP(), batch)
    for name in ("pad_effect", "visible_effect", "inverted_mask", "turned_mask.auroc_gain"):
        assert reason in skipped(given)[name]
        assert name not in measure(given)


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


class Restless(ConcatMLP):
    """Draws in eval mode too."""

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        answer = super().forward(hidden, actions, pad_mask)
        return answer + torch.randn_like(answer) + random.random() + np.random.random()


def states() -> tuple[Tensor, object, object]:
    return torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]


def test_a_model_that_draws_is_not_repeatable_and_no_random_state_moves() -> None:
    assert measure(evidence(make_head()))["repeat_shift"].value == 0
    given = evidence(Restless())
    _ = given.swap
    before = states()
    with borrowed(given.energy, 0) as energy:
        energy(given.batch.hidden, given.batch.actions, given.batch.pad_mask)
    assert torch.equal(states()[0], before[0])
    assert states()[1:] == before[1:]
    assert measure(given)["repeat_shift"].value > 0.1


class Normed(nn.Module):
    """Batch normalisation, dropout, a plain counter, a buffer that is replaced, and statistics of the last call."""

    def __init__(self, *, copied: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.first, self.last = nn.Linear(CONTEXT + STEPS * ACTION, 8), nn.Linear(8, 1)
        self.norm, self.dropout = nn.BatchNorm1d(8), nn.Dropout(dropout)
        self.register_buffer("seen", torch.zeros(()), persistent=False)
        self.calls, self.copied = 0, copied

    def __deepcopy__(self, memo: dict[int, object]) -> Normed:
        if not self.copied:
            raise TypeError("cannot be copied")
        other = Normed(dropout=self.dropout.p)
        other.load_state_dict(copy.deepcopy(self.state_dict()))
        return other.train(self.training)

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        if self.training:
            self.calls += 1
            self.seen = self.seen + len(hidden)
        inside = self.norm(self.first(torch.cat((pooled(hidden, pad_mask), actions.flatten(1)), dim=1)))
        answer: Tensor = self.last(self.dropout(inside).tanh())
        return answer


@pytest.mark.parametrize("copied", [True, False])
def test_batch_statistics_in_train_mode_and_everything_as_before(copied: bool) -> None:
    model = Normed(copied=copied).eval()
    model.dropout.train()  # a module whose parts are in different modes
    model.dropout.p = 0.0
    given = evidence(model)
    model.dropout.train()
    buffers = {name: (buffer, buffer.clone()) for name, buffer in model.named_buffers()}
    modes, before = {name: part.training for name, part in model.named_modules()}, states()
    found = measure(given)
    assert {name: part.training for name, part in model.named_modules()} == modes
    now = dict(model.named_buffers())
    for name, (buffer, value) in buffers.items():
        assert now[name] is buffer
        assert torch.equal(buffer, value), name
    assert model.calls == 0
    assert torch.equal(states()[0], before[0])

    batch, spread = given.batch, energy_spread(given.swap.energy)
    assert batch.pad_mask is not None
    shift = []
    for actions in (batch.actions, [batch.actions[i - 1] for i in range(len(batch))]):
        flat = [
            torch.cat((pooled(h[None], mask[None])[0], a.flatten()))
            for h, mask, a in zip(batch.hidden, batch.pad_mask, actions, strict=True)
        ]
        with torch.no_grad():
            inside = torch.stack([model.first(one) for one in flat])
            by_batch = (inside - inside.mean(dim=0)) / (inside.var(dim=0, correction=0) + model.norm.eps).sqrt()
            running = [model.norm(one[None])[0] for one in inside]
            pairs = zip(by_batch, running, strict=True)
            shift += [abs(float(model.last(one.tanh()) - model.last(other.tanh()))) for one, other in pairs]
    assert found["train_eval_shift"].value == pytest.approx(np.mean(shift) / spread, rel=1e-4)
    assert found["train_eval_shift"].value > 0.1


def test_without_dropout_and_statistics_the_modes_agree() -> None:
    assert measure(evidence(ConcatMLP()))["train_eval_shift"].value == 0
    model = make_head()
    assert measure(evidence(model))["train_eval_shift"].value > 0.01  # its dropout
    model.position_dropout.p = 0.0
    assert measure(evidence(model))["train_eval_shift"].value == 0


class OnlyEval(ConcatMLP):
    """Raises where it is asked for what it was not made for."""

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        if self.training or hidden.dtype != torch.float32:
            raise RuntimeError("only made for eval mode and float32")
        return super().forward(hidden, actions, pad_mask)


def test_what_a_module_cannot_do_is_skipped_with_its_reason() -> None:
    given = evidence(OnlyEval())
    reasons = skipped(given)
    for name in ("train_eval_shift", "bf16_shift", "bf16_auroc_drop"):
        assert "only made for eval mode and float32" in reasons[name]
        assert name not in measure(given)
    assert measure(given)["repeat_shift"].value == 0
    assert not given.energy.module.training


class NanInTraining(ConcatMLP):
    """Overflows in train mode."""

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        return super().forward(hidden, actions, pad_mask) / (0.0 if self.training else 1.0)


def test_energies_that_are_not_finite_in_train_mode_are_told() -> None:
    assert "not finite in train() mode" in skipped(evidence(NanInTraining()))["train_eval_shift"]


class Product(nn.Module):
    """A weight that bfloat16 rounds to 1, times a product of whole numbers, which it does not round."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.003))

    def forward(self, hidden: Tensor, actions: Tensor, _mask: Tensor | None = None) -> Tensor:
        return self.weight * (hidden[:, 0, 0] * actions[:, 0, 0] - (actions[:, 0, 0] == 2).to(hidden) * self.weight)


def test_bfloat16_against_a_loop() -> None:
    batch = half_padded()
    whole = torch.arange(SAMPLES).float() % 4 - 1
    given = evidence(
        Product(),
        replace(
            batch, hidden=whole[:, None, None] + 0 * batch.hidden, actions=whole[:, None, None] + 0 * batch.actions
        ),
    )
    part = given.batch.take(given.swap.index[0])
    exact, rounded = (
        [[w * (h * a - (w if a == 2 else 0)) for a in part.actions[:, 0, 0].tolist()] for h in part.hidden[:, 0, 0]]
        for w in (1.003, 1.0)
    )
    found = measure(given)
    shift = [
        abs(float(e) - float(r))
        for row, other in zip(exact, rounded, strict=True)
        for e, r in zip(row, other, strict=True)
    ]
    assert found["bf16_shift"].value == pytest.approx(np.mean(shift) / energy_spread(given.swap.energy), rel=1e-4)
    drop = auroc_of(torch.tensor(exact)).mean() - auroc_of(torch.tensor(rounded)).mean()
    assert found["bf16_auroc_drop"].value == pytest.approx(drop)
    assert drop != 0


def test_bfloat16_moves_a_real_head_a_little_and_leaves_its_weights() -> None:
    given = evidence(make_head("linear"))
    before = copy.deepcopy(given.energy.module.state_dict())
    found = measure(given)
    assert 0 < found["bf16_shift"].value < 0.1
    assert abs(found["bf16_auroc_drop"].value) < 0.1
    assert given.energy.dtype == torch.float32
    assert all(torch.equal(value, before[name]) for name, value in given.energy.module.state_dict().items())


def test_bfloat16_is_skipped_where_it_says_nothing_or_harms() -> None:
    assert "bfloat16 already" in skipped(evidence(make_head("linear").to(torch.bfloat16)))["bf16_shift"]
    model = Normed(copied=False)
    before = copy.deepcopy(model.state_dict())
    assert "cannot be copied" in skipped(evidence(model))["bf16_shift"]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_pieces_cover_everything_with_two_at_least() -> None:
    given = evidence(make_head(), make_batch(11))
    for budget in (1, 1 << 14, 1 << 16, 1 << 30):
        pieces = _pieces(given.energy, given.batch, budget)
        assert torch.cat(pieces).tolist() == list(range(11))
        assert min(len(piece) for piece in pieces) >= 2


def test_every_average_has_an_interval_and_the_same_seed_gives_the_same() -> None:
    found = measure(evidence(make_head()))
    assert all(m.ci95 is not None and m.unit == "1" for m in found.values())
    assert found == measure(evidence(make_head()))
    assert found != measure(evidence(make_head(), seed=1))
