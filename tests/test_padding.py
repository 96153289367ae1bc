"""What hidden tokens do, to models that take the mask in a known way; numbers against loops over single samples."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from parts import (
    CONTEXT,
    SAMPLES,
    ConcatMLP,
    Constant,
    evidence,
    half_padded,
    make_batch,
    make_head,
    numbers_of,
    pooled,
    reasons_of,
    single,
)
from torch import Tensor, nn

from energydiag.batch import Batch
from energydiag.probes.effects import energy_spread
from energydiag.probes.padding import PROBE, garbage_effects
from energydiag.probes.separation import auroc_of, ranks

measure, skipped = partial(numbers_of, PROBE), partial(reasons_of, PROBE)


class UpsideDown(ConcatMLP):
    """Takes a mask that says what is visible."""

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        return super().forward(hidden, actions, None if pad_mask is None else ~pad_mask)


class NoMask(ConcatMLP):
    """Looks at every token."""

    def forward(self, hidden: Tensor, actions: Tensor, _mask: Tensor | None = None) -> Tensor:
        return super().forward(hidden, actions, None)


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


def test_a_constant_energy_leaves_nothing_to_measure() -> None:
    given = evidence(Constant())
    assert measure(given) == {}
    (reason,) = skipped(given).values()
    assert reason == "the energy is the same everywhere, so there is nothing to compare effects with"
    assert list(skipped(given)) == ["padding"]


def test_every_average_has_an_interval_and_the_same_seed_gives_the_same() -> None:
    found = measure(evidence(make_head()))
    assert all(m.ci95 is not None and m.unit == "1" for m in found.values())
    assert found == measure(evidence(make_head()))
    assert found != measure(evidence(make_head(), seed=1))
