"""Negatives that the energy itself prefers: found by descending it, as inference would.

A model that ranks well can still have low energies beside the expert's action, where nothing pushed them up. Following
the energy leads there. Training on those places is what Implicit Behavioral Cloning (Florence et al. 2021, §B.3) does
with Langevin dynamics; here the steps are normalised, so that their length does not depend on the energy's scale.

Shapes: N samples, M starts per sample, H action steps, A action dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from energydiag.energies.descent import follow
from energydiag.models.energy_function import EnergyFunction
from energydiag.plan import Descent


def descend(
    energy: EnergyFunction,
    hidden: Tensor,
    starts_NMHA: Tensor,
    pad_mask: Tensor | None,
    plan: Descent,
    generator: torch.Generator,
) -> Tensor:
    """Where the descents end, ``[N, M, H, A]``, without gradient."""

    def jitter(actions: Tensor) -> Tensor:
        return plan.noise * torch.randn(actions.shape, generator=generator).to(actions)

    lengths = torch.full((starts_NMHA.shape[1],), plan.length)
    path = follow(energy, hidden, starts_NMHA, pad_mask, lengths, plan.steps, jitter=jitter, memory_budget=None)
    return path.actions[-1]
