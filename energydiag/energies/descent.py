"""Following the energy downwards by steps of one length, as inference does.

Shapes: B contexts, N starts per context, H action steps, A action dimensions, K steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from energydiag.energies.gradients import action_gradients
from energydiag.energies.memory import DEFAULT_BUDGET, gathered, run_in_pieces
from energydiag.energies.pairs import Pairs
from energydiag.energies.pairwise import each_context_once, pair_table
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

    def columns(self, part: slice) -> Path:
        """The ways from some of the starts."""
        return Path(self.actions[:, :, part], self.energy[:, :, part])


def step_down(
    energy: EnergyFunction,
    hidden: Tensor,
    actions_BNHA: Tensor,
    pad_mask: Tensor | None,
    length_N: Tensor,
    memory_budget: int | None = DEFAULT_BUDGET,
) -> tuple[Tensor, Tensor]:
    """One step along −dE/da divided by its norm, so that its length does not depend on E's scale.

    Args:
        energy: What to follow.
        hidden: Contexts ``[B, S, D]``.
        actions_BNHA: Where to step from, where and as the module wants them.
        pad_mask: ``[B, S]`` or None.
        length_N: Euclidean length of the step over the whole chunk, for each of the N actions.
        memory_budget: Bytes that a piece may take.

    Returns:
        The actions after the step, and the energies ``[B, N]`` before it; an action without gradient stays.
    """
    pairs = Pairs(hidden, actions_BNHA, pad_mask, shared=False)
    found = action_gradients(energy, pairs, memory_budget)
    beside = [1] * (actions_BNHA.dim() - 2)
    step = length_N.to(actions_BNHA).reshape(1, -1, *beside) * directions(found.gradient)
    return actions_BNHA - step, found.energy


def directions(gradient_BNHA: Tensor) -> Tensor:
    """Every action's gradient divided by its norm over the whole chunk; one that is exactly zero stays zero.

    A gradient of any size has its direction. The squares that make up a norm vanish below about 1e-19 in single
    precision, and overflow above 1e19, so that the largest entry is divided by first.
    """
    flat = gradient_BNHA.flatten(2)
    largest = flat.abs().amax(dim=2, keepdim=True)
    even = torch.where(largest == 0, torch.zeros_like(flat), flat / largest)  # what is not finite stays so
    unit: Tensor = even / even.norm(dim=2, keepdim=True).clamp_min(1)
    return unit.reshape(gradient_BNHA.shape)


def follow(
    energy: EnergyFunction,
    hidden: Tensor,
    starts_BNHA: Tensor,
    pad_mask: Tensor | None,
    length_N: Tensor,
    steps: int,
    memory_budget: int | None = DEFAULT_BUDGET,
) -> Path:
    """Takes ``steps`` of `step_down` from each start and keeps the way; each context's work is done once.

    Args:
        energy: What to follow.
        hidden: Contexts ``[B, S, D]``.
        starts_BNHA: Where to begin.
        pad_mask: ``[B, S]`` or None.
        length_N: Length of a step for each of the N starts.
        steps: K.
        memory_budget: Bytes that a piece may take.
    """
    pairs = Pairs(hidden, starts_BNHA, pad_mask, shared=False)

    def run(part: slice) -> tuple[Tensor, Tensor]:
        chunk = pairs.rows(part).to(energy.device, energy.dtype)
        with each_context_once(energy, chunk):
            path = _follow(energy, chunk, length_N, steps)
        return path.actions.transpose(0, 1), path.energy.transpose(0, 1)

    actions, energies = gathered(run_in_pieces(run, pairs.contexts, memory_budget), pairs.contexts)
    return Path(actions.transpose(0, 1), energies.transpose(0, 1))


def _follow(energy: EnergyFunction, pairs: Pairs, length_N: Tensor, steps: int) -> Path:
    actions = pairs.actions.detach()
    seen, energies = [actions], []
    for _ in range(steps):
        actions, before = step_down(energy, pairs.hidden, actions, pairs.pad_mask, length_N, memory_budget=None)
        seen.append(actions)
        energies.append(before)
    last = replace(pairs, actions=actions)
    with torch.no_grad():
        end = pair_table(energy, lambda h, a, m: (energy(h, a, m),), last, memory_budget=None).values[0]
    return Path(torch.stack(seen), torch.stack([*energies, end]))
