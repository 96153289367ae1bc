"""What a step needs of a model besides its loss: a settled way to batch it, its dropout, inputs of its type."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import cast

import torch
from torch import Tensor, nn

from energydiag.batch import Batch
from energydiag.energies.pairs import Pairs
from energydiag.energies.pairwise import pair_table
from energydiag.models.energy_function import EnergyFunction
from energydiag.models.head_reading import ActivationProbe, read_head


def settle(energy: EnergyFunction, batch: Batch) -> None:
    """Lets the measuring core find out how this module can be batched, on the weights that it came with.

    It finds out once per module; left to the first step, a resumed run could find another way than the first one.
    """
    energy.module.eval()
    some = batch.take(torch.arange(min(2, len(batch))))
    with torch.no_grad():
        pairs = Pairs(some.hidden, some.actions, some.pad_mask, shared=True)
        pair_table(energy, lambda h, a, m: (energy(h, a, m),), pairs)


@contextmanager
def dropout_of(module: nn.Module, probability: float | None) -> Iterator[None]:
    """Every dropout module with another probability for a while; None leaves them as they are."""
    # the base class of all of them has no public name
    before = {m: m.p for m in module.modules() if isinstance(m, nn.modules.dropout._DropoutNd)}
    try:
        for each in before if probability is not None else ():
            each.p = cast("float", probability)
        yield
    finally:
        for each, p in before.items():
            each.p = p


def as_module_wants(batch: Batch, energy: EnergyFunction) -> Batch:
    """The batch on the module's device, and what is floating in it in the module's type."""

    def fitting(value: Tensor | None) -> Tensor | None:
        if value is None or not value.is_floating_point():
            return value if value is None else value.to(energy.device)
        return value.to(energy.device, energy.dtype)

    return Batch(**{field.name: fitting(getattr(batch, field.name)) for field in fields(Batch)})  # type: ignore[arg-type]


def saturation(energy: EnergyFunction, batch: Batch) -> float:
    """Share of raw values at the expert's actions whose slope is below a tenth of the steepest, in eval mode."""
    energy.module.eval()
    reading = read_head(
        energy, batch.hidden[:2], batch.actions[:2], None if batch.pad_mask is None else batch.pad_mask[:2]
    )
    if reading.activation is None or reading.activation.relative_slope is None:
        return 0.0
    with torch.no_grad(), ActivationProbe(reading) as probe:
        energy(batch.hidden, batch.actions, batch.pad_mask)
    if probe.activation_input is None:
        return math.nan
    return float((reading.activation.relative_slope(probe.activation_input) < 0.1).float().mean())
