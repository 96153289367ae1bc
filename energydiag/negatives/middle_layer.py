"""The design's improved negatives: one intermediate layer of middle energy, and two noisy copies of the expert.

Of the policy's layers but the last, the one with the middle mean energy is taken: neither the easiest negative nor
one that may be as good as the expert.
"""

from __future__ import annotations

import torch
from torch import Tensor

from energydiag.batch import Batch
from energydiag.models.energy_function import EnergyFunction
from energydiag.negatives.noise import noisy
from energydiag.negatives.part import Part

NOISE_SIGMAS = (0.1, 0.3)


def middle_layer(energy: EnergyFunction, batch: Batch, part: Part | None = None) -> int:
    """Index of the intermediate layer whose mean energy over the batch is the middle one (the lower of two).

    Args:
        energy: Whose energies decide.
        batch: Samples with the actions of at least two layers.
        part: Which of the step's samples they are; None: all.
    """
    layers = batch.layer_actions
    if layers is None or layers.shape[1] < 2:
        raise ValueError("needs the actions of at least two layers")
    part = part or Part.everything(batch)
    with torch.no_grad():
        means = torch.stack(
            [energy(batch.hidden, layers[:, i], batch.pad_mask).mean() for i in range(layers.shape[1] - 1)]
        )
    return int(part.average(means).argsort()[(len(means) - 1) // 2])


def improved_negatives(
    energy: EnergyFunction, batch: Batch, generator: torch.Generator, part: Part | None = None
) -> Tensor:
    """``[N, M, H, A]``: the middle layer's action (where layers are there), then one noisy copy per strength."""
    part = part or Part.everything(batch)
    parts = [part.own(noisy(part.whole.actions, sigma, 1, generator)) for sigma in NOISE_SIGMAS]
    if batch.layer_actions is not None and batch.layer_actions.shape[1] >= 2:
        chosen = middle_layer(energy, batch, part)
        parts.insert(0, batch.layer_actions[:, chosen : chosen + 1])
    return torch.cat(parts, dim=1)
