"""Negatives that the energy itself prefers: found by descending it, as inference would.

A model that ranks well can still have low energies beside the expert's action, where nothing pushed them up. Following
the energy leads there. Training on those places is what Implicit Behavioral Cloning (Florence et al. 2021, §B.3) does
with Langevin dynamics; here the steps are normalised, so that their length does not depend on the energy's scale.

Shapes: N samples, M starts per sample, H action steps, A action dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from energydiag.energies.descent import step_down
from energydiag.energies.remembered import remembered
from energydiag.models.energy_function import EnergyFunction
from energydiag.negatives.part import Part
from energydiag.plan import Descent


def descend(
    energy: EnergyFunction,
    hidden: Tensor,
    starts_NMHA: Tensor,
    pad_mask: Tensor | None,
    plan: Descent,
    generator: torch.Generator,
    part: Part | None = None,
) -> Tensor:
    """Where the descents end, ``[N, M, H, A]``, without gradient.

    Args:
        energy: What to follow.
        hidden: Contexts ``[N, S, D]``.
        starts_NMHA: Where to begin.
        pad_mask: ``[N, S]`` or None.
        plan: How many steps, how long, how noisy.
        generator: Draws the noise, on the CPU.
        part: Which of the step's samples these are; None: all. The noise is drawn for all of them.
    """
    samples = len(starts_NMHA) if part is None else len(part.whole)
    actions = starts_NMHA.detach()
    lengths = torch.full((actions.shape[1],), plan.length)
    with remembered(energy.module, hidden, pad_mask):
        for _ in range(plan.steps):
            actions, _before = step_down(energy, hidden, actions, pad_mask, lengths, memory_budget=None)
            noise = torch.randn((samples, *actions.shape[1:]), generator=generator)
            actions = actions + plan.noise * (noise if part is None else part.own(noise)).to(actions)
    return actions
