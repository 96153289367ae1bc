"""The loss of one step: InfoNCE over swap and mixed-in negatives, with the terms that shape the energy's field.

Shapes: B contexts, M mixed-in actions per context, N = B + M candidates, H action steps, A action dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from energydiag.batch import Batch
from energydiag.energies.pairs import Pairs
from energydiag.energies.pairwise import pair_table
from energydiag.losses import info_nce_per_row
from energydiag.models.energy_function import EnergyFunction
from energydiag.negatives.adversarial import descend
from energydiag.negatives.middle_layer import improved_negatives
from energydiag.negatives.noise import noisy
from energydiag.negatives.source import sources
from energydiag.training.plan import TrainingPlan


@dataclass(frozen=True)
class StepLoss:
    """The loss of one step and what it was made of.

    Attributes:
        total: What is differentiated.
        info_nce: The contrastive part, in nats.
        swap: Energies of the swap table ``[B, B]``, without gradient.
        alignment: Mean cosine between the descent direction and the way to the expert, or None.
    """

    total: Tensor
    info_nce: Tensor
    swap: Tensor
    alignment: float | None


def mixed_in(energy: EnergyFunction, batch: Batch, plan: TrainingPlan, generator: torch.Generator) -> Tensor | None:
    """The plan's negatives beside the swap ones, ``[B, M, H, A]``, or None where it has none."""
    known = sources()
    parts = [part for name in plan.sources for part in known[name].make(batch, generator).values()]
    if plan.improved_negatives:
        parts.append(improved_negatives(energy, batch, generator))
    if plan.descent is not None:
        starts = [batch.actions[:, None], noisy(batch.actions, 0.3, 1, generator)]
        if batch.policy_actions is not None:
            starts.insert(1, batch.policy_actions[:, None])
        ends = descend(energy, batch.hidden, torch.cat(starts, 1), batch.pad_mask, plan.descent, generator)
        parts.append(ends)
    return torch.cat(parts, dim=1).detach() if parts else None


def step_loss(energy: EnergyFunction, batch: Batch, plan: TrainingPlan, generator: torch.Generator) -> StepLoss:
    """The plan's loss on one batch, differentiable in the parameters."""
    shared = Pairs(batch.hidden, batch.actions, batch.pad_mask, shared=True)
    swap_BB = _energies(energy, shared)
    negatives = mixed_in(energy, batch, plan, generator)
    if negatives is None:
        info_nce = info_nce_per_row(plan.sign * swap_BB, plan.tau).mean()
        return StepLoss(info_nce + plan.anchor * swap_BB.square().mean(), info_nce, swap_BB.detach(), None)
    wants_field = plan.alignment > 0
    negatives.requires_grad_(wants_field)
    mixed_BM = _energies(energy, Pairs(batch.hidden, negatives, batch.pad_mask, shared=False))
    positive_B1 = swap_BB.diagonal()[:, None]
    table = torch.cat((swap_BB, mixed_BM), dim=1) if plan.swap else torch.cat((positive_B1, mixed_BM), dim=1)
    if plan.swap:
        info_nce = info_nce_per_row(plan.sign * table, plan.tau).mean()
    else:
        first = torch.zeros(len(table), dtype=torch.long, device=table.device)
        info_nce = functional.cross_entropy(-plan.sign * table / plan.tau, first)
    total = info_nce + plan.anchor * table.square().mean()
    cosine = None
    if wants_field:
        gradient = torch.autograd.grad(mixed_BM.sum(), negatives, create_graph=True)[0]
        way = batch.actions[:, None] - negatives.detach()
        cosine_BM = functional.cosine_similarity(-gradient.flatten(2), way.flatten(2), dim=2)
        total = total + plan.alignment * (1 - cosine_BM).mean()
        cosine = float(cosine_BM.detach().mean())
    if plan.ranking > 0:
        energies = torch.cat((positive_B1, mixed_BM), dim=1)
        distance = (negatives.detach() - batch.actions[:, None]).flatten(2).norm(dim=2)
        distance = torch.cat((torch.zeros_like(positive_B1), distance), dim=1)
        total = total + plan.ranking * ranking_loss(energies, distance)
    return StepLoss(total, info_nce, swap_BB.detach(), cosine)


def ranking_loss(energy_BM: Tensor, distance_BM: Tensor) -> Tensor:
    """Mean of softplus(E_near − E_far) over all pairs of one context (Bradley-Terry on distance)."""
    nearer = distance_BM[:, :, None] < distance_BM[:, None, :]
    difference = energy_BM[:, :, None] - energy_BM[:, None, :]
    return functional.softplus(difference)[nearer].mean()


def _energies(energy: EnergyFunction, pairs: Pairs) -> Tensor:
    return pair_table(energy, lambda h, a, m: (energy(h, a, m),), pairs, memory_budget=None).values[0]
