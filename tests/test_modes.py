"""The energy again, in train mode and in bfloat16, on modules that mind; numbers against loops over single samples."""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from parts import (
    ACTION,
    CONTEXT,
    SAMPLES,
    STEPS,
    ConcatMLP,
    Constant,
    evidence,
    half_padded,
    make_batch,
    make_head,
    numbers_of,
    pooled,
    reasons_of,
)
from torch import Tensor, nn

from energydiag.models.borrowing import borrowed
from energydiag.probes.effects import energy_spread
from energydiag.probes.modes import PROBE, _pieces
from energydiag.probes.separation import auroc_of

measure, skipped = partial(numbers_of, PROBE), partial(reasons_of, PROBE)


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


def test_a_constant_energy_leaves_nothing_to_measure() -> None:
    given = evidence(Constant())
    assert measure(given) == {}
    (reason,) = skipped(given).values()
    assert reason == "the energy is the same everywhere, so there is nothing to compare effects with"
    assert list(skipped(given)) == ["modes"]


def test_every_average_has_an_interval_and_the_same_seed_gives_the_same() -> None:
    found = measure(evidence(make_head()))
    assert all(m.ci95 is not None and m.unit == "1" for m in found.values())
    assert found == measure(evidence(make_head()))
    assert found != measure(evidence(make_head(), seed=1))
