"""Whether the monitor measures the function that the training loop computes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import torch

from energydiag.batches.named import as_batch, checked, resolve
from energydiag.energies.pairs import Pairs
from energydiag.models.energy_function import EnergyFunction
from energydiag.models.identity import identify, takes_mask
from energydiag.models.model_form import Stated
from energydiag.monitor.undisturbed import undisturbed


class Verified(NamedTuple):
    """What a comparison says.

    Attributes:
        told: In words.
        agrees: Whether the loop's energies are those of the model as the monitor calls it.
    """

    told: str
    agrees: bool


def verified(energy: EnergyFunction, values: dict[str, Any], *, with_hooks: bool = True) -> Verified:
    """Compares the energies that a loop computed with those of the model as the monitor calls it.

    Args:
        energy: As the monitor calls it, with the weights that the loop computed with.
        values: ``hidden``, ``actions``, ``pad_mask`` and ``energies``, by the names of a dump.
        with_hooks: Whether the user's forward hooks run.

    Raises:
        InvalidBatch: Shapes do not fit each other.
        ModelFailed: The module raised.
    """
    where = "the batch to verify"
    given = {
        name: value.detach().cpu() if isinstance(value, torch.Tensor) else torch.as_tensor(value)
        for name, value in values.items()
        if value is not None
    }
    batch = as_batch(checked(resolve(given, where)[0], where))
    with undisturbed(energy.module, with_hooks=with_hooks):
        few = Pairs(batch.hidden[:2], batch.actions[:2], batch.pad_mask, shared=True).to(energy.device, energy.dtype)
        energy, _ = energy.with_sign(few.hidden, few.actions, None if few.pad_mask is None else few.pad_mask[:2])
        found = identify(replace(energy, mask="hidden"), batch, Stated(sign=energy.sign), None)
    best = found.best
    if found.verdict == "different":
        return Verified(
            f"the loop's energies are not the model's: largest difference {best.difference:.2g}, {best.relative:.2g} "
            "standard deviations. What is measured here is another function than what is trained: see what the loop "
            "does to contexts, actions and mask before it calls the model",
            False,
        )
    form = best.form
    masked = takes_mask(energy, batch, None)
    agrees = (form.mask == energy.mask or not masked) and form.sign == energy.sign and not best.lost
    parts = [f"largest difference {best.difference:.1g} over {best.samples} samples", form.describe(masked)]
    parts += [f"{best.lost} of the loop's are not finite"] if best.lost else []
    told = ", ".join(part for part in parts if part)
    if found.verdict == "undetermined":
        return Verified(f"it is undetermined whether the loop's energies are the model's: {told}", False)
    if agrees:
        return Verified(f"the loop's energies are the model's: {told}", True)
    return Verified(f"the loop calls the model in another way than the monitor: {told}", False)
