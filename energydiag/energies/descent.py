"""Following the energy downwards by steps of one length, as inference does.

Shapes: B contexts, N starts per context, H action steps, A action dimensions, K steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from energydiag.energies.gradients import action_gradients
from energydiag.energies.memory import DEFAULT_BUDGET
from energydiag.energies.pairs import Pairs
from energydiag.models.energy_function import EnergyFunction


@dataclass(frozen=True)
class Path:
    """Where descents went.

    Attributes:
        actions: After 0, 1, … K steps, ``[K + 1, B, N, H, A]``.
        energy: There, ``[K + 1, B, N]``.
    """

    actions: Tensor
    energy: Tensor


def follow(
    energy: EnergyFunction,
    hidden: Tensor,
    starts_BNHA: Tensor,
    pad_mask: Tensor | None,
    length_N: Tensor,
    steps: int,
    *,
    jitter: Callable[[Tensor], Tensor] | None = None,
    memory_budget: int | None = DEFAULT_BUDGET,
) -> Path:
    """Takes ``steps`` steps along −dE/da divided by its norm, so that a step's length does not depend on E's scale.

    Args:
        energy: What to follow.
        hidden: Contexts ``[B, S, D]``.
        starts_BNHA: Where to begin.
        pad_mask: ``[B, S]`` or None.
        length_N: Euclidean length of a step over the whole chunk, for each of the N starts.
        steps: K.
        jitter: Added to the actions after every step, from their shape's like.
        memory_budget: Bytes that a piece may take.

    Returns:
        The path; a start without gradient stays where it is.
    """
    actions = starts_BNHA.detach().to(energy.device, energy.dtype)
    scale = length_N.to(actions).reshape(1, -1, *[1] * (actions.dim() - 2))
    seen, energies = [actions], []
    for _ in range(steps):
        found = action_gradients(energy, Pairs(hidden, actions, pad_mask, shared=False), memory_budget)
        norm = found.gradient.flatten(2).norm(dim=2).clamp_min(torch.finfo(actions.dtype).tiny)
        direction = found.gradient / norm.reshape(*norm.shape, *[1] * (actions.dim() - 2))
        actions = actions - scale * direction
        if jitter is not None:
            actions = actions + jitter(actions)
        seen.append(actions)
        energies.append(found.energy)
    last = action_gradients(energy, Pairs(hidden, actions, pad_mask, shared=False), memory_budget).energy
    return Path(torch.stack(seen), torch.stack([*energies, last]))
