"""Negatives that the energy itself prefers: found by descending it, as inference would.

A model that ranks well can still have low energies beside the expert's action, where nothing pushed them up. Following
the energy leads there. Training on those places is what Implicit Behavioral Cloning (Florence et al. 2021, §B.3) does
with Langevin dynamics; here the steps are normalised, so that their length does not depend on the energy's scale.

Shapes: N samples, M starts per sample, H action steps, A action dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from energydiag.energies.gradients import action_gradients
from energydiag.energies.pairs import Pairs
from energydiag.models.energy_function import EnergyFunction


@dataclass(frozen=True)
class Descent:
    """How the energy is followed.

    Attributes:
        steps: How many.
        length: Euclidean length of a step over the whole chunk, in action units.
        noise: Standard deviation of what is added to every entry at each step.
    """

    steps: int = 5
    length: float = 0.07
    noise: float = 0.01


def descend(
    energy: EnergyFunction,
    hidden: Tensor,
    starts_NMHA: Tensor,
    pad_mask: Tensor | None,
    plan: Descent,
    generator: torch.Generator,
) -> Tensor:
    """Where the descents end, ``[N, M, H, A]``, without gradient."""
    actions = starts_NMHA.detach()
    for _ in range(plan.steps):
        gradient = action_gradients(energy, Pairs(hidden, actions, pad_mask, shared=False), memory_budget=None).gradient
        norm = gradient.flatten(2).norm(dim=2).clamp_min(1e-12)[..., None, None]
        noise = torch.randn(actions.shape, generator=generator).to(actions.device, actions.dtype)
        actions = actions - plan.length * gradient / norm + plan.noise * noise
    return actions
