"""Whether an energy depends on the rows beside it: models that couple them in a known way, and models that do not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from parts import SAMPLES, ConcatMLP, Constant, evidence, half_padded, make_head, numbers_of, reasons_of, single
from torch import Tensor, nn

from energydiag.models.energy_function import EnergyFunction
from energydiag.pipeline import inspect
from energydiag.probes.batch_dependence import PROBE, alone_energies
from energydiag.probes.effects import energy_spread

NAME = "batch_dependence"


class Coupled(ConcatMLP):
    """Adds the mean energy of the call."""

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        own = super().forward(hidden, actions, pad_mask)
        return own + 3 * own.mean()


class Picky(Coupled):
    """Does not run with one row, as batch normalization in train mode."""

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        if len(hidden) < 2:
            raise ValueError("expected more than one value per channel")
        return super().forward(hidden, actions, pad_mask)


class Noisy(ConcatMLP):
    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        return nn.functional.dropout(super().forward(hidden, actions, pad_mask), training=True)


class Far(ConcatMLP):
    """On a level that makes rounding large beside the spread."""

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        return super().forward(hidden, actions, pad_mask) + 1e5


@pytest.mark.parametrize("model", [make_head(), ConcatMLP(), ConcatMLP().double(), Far()])
def test_rows_that_do_not_touch_each_other(model: nn.Module) -> None:
    assert numbers_of(PROBE, evidence(model))[NAME].value == 0


def test_coupled_rows_against_a_loop() -> None:
    batch, model = half_padded(), Coupled()
    given = evidence(model, batch)
    with torch.no_grad():
        together = model(batch.hidden, batch.actions, batch.pad_mask).reshape(-1)
    apart = [abs(single(model, batch, i) - float(together[i])) for i in range(SAMPLES)]
    wanted = sum(apart) / SAMPLES / energy_spread(given.swap.energy)
    assert wanted > 0.3
    assert numbers_of(PROBE, given)[NAME].value == pytest.approx(wanted, rel=1e-4)


def test_a_model_that_needs_two_rows_is_called_with_two() -> None:
    batch = half_padded()
    alone = alone_energies(EnergyFunction(Picky(), "test"), batch)
    for i in range(SAMPLES):
        own, other = (single(ConcatMLP(), batch, row % SAMPLES) for row in (i, i + 1))
        assert float(alone[i]) == pytest.approx(own + 3 * (own + other) / 2, abs=1e-5)


def test_a_random_and_a_constant_model_are_left_out() -> None:
    assert "call to call" in reasons_of(PROBE, evidence(Noisy()))[NAME]
    assert "same everywhere" in reasons_of(PROBE, evidence(Constant()))[NAME]


def test_it_stands_first_and_is_critical() -> None:
    batch = replace(half_padded(48), episode=torch.arange(48) // 2)
    diagnosis = inspect(EnergyFunction(Coupled(), "test"), batch)
    assert diagnosis.findings[0].code == "ED511"
    assert diagnosis.findings[0].severity == "critical"
    assert "rest of the batch" in diagnosis.findings[0].summary
