"""The loss of one step: contrast with swap and mixed-in negatives, and the terms that shape the energy's field.

Shapes: B contexts, M mixed-in actions per context, N = B + M candidates, H action steps, A action dimensions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from energydiag.batch import Batch
from energydiag.energies.pairs import Pairs
from energydiag.energies.pairwise import pair_table
from energydiag.losses import (
    alignment_cosine,
    contrastive_per_row,
    false_negatives,
    gradient_penalty,
    margin_loss,
    ranking_loss,
)
from energydiag.models.energy_function import EnergyFunction
from energydiag.negatives.adversarial import descend
from energydiag.negatives.middle_layer import improved_negatives
from energydiag.negatives.noise import SIGMAS, noisy
from energydiag.negatives.source import sources
from energydiag.plan import TrainingPlan
from energydiag.training.temperature import TemperatureChoice, choose

_FAR_START = 0.3
"""Strength of the noise from which the third descent starts."""


@dataclass(frozen=True)
class StepLoss:
    """The loss of one step and what it was made of.

    Attributes:
        total: What is differentiated.
        info_nce: The contrastive part, in nats.
        swap: Energies of the swap table ``[B, B]``, without gradient.
        alignment: Mean cosine between the descent direction and the way to the expert, or None.
        temperature: The temperature and why.
    """

    total: Tensor
    info_nce: Tensor
    swap: Tensor
    alignment: float | None
    temperature: TemperatureChoice


def mixed_in(energy: EnergyFunction, batch: Batch, plan: TrainingPlan, generator: torch.Generator) -> Tensor | None:
    """The plan's negatives beside the swap ones, ``[B, M, H, A]``, or None where it has none."""
    known = sources()
    parts = [part for name in plan.sources for part in known[name].make(batch, generator).values()]
    if plan.improved_negatives:
        parts.append(improved_negatives(energy, batch, generator))
    if plan.descent is not None:
        starts = [batch.actions[:, None], noisy(batch.actions, _FAR_START, 1, generator)]
        if batch.policy_actions is not None:
            starts.insert(1, batch.policy_actions[:, None])
        ends = descend(energy, batch.hidden, torch.cat(starts, 1), batch.pad_mask, plan.descent, generator)
        parts.append(ends)
    return torch.cat(parts, dim=1).detach() if parts else None


def step_loss(
    energy: EnergyFunction, batch: Batch, plan: TrainingPlan, generator: torch.Generator, log_tau: Tensor | None = None
) -> StepLoss:
    """The plan's loss on one batch, differentiable in the parameters.

    Args:
        energy: In training mode.
        batch: B samples, on the energy's device and in its type.
        plan: Which terms.
        generator: Draws noise, on the CPU.
        log_tau: The parameter of a learnable temperature.
    """
    negatives = mixed_in(energy, batch, plan, generator)
    wants_slope = plan.alignment > 0 or plan.gradient_penalty > 0
    # where nothing is mixed in, the slope that is penalised is the one at the experts' own actions
    points = batch.actions.detach().clone() if negatives is None else negatives
    points.requires_grad_(wants_slope)
    experts = points if negatives is None else batch.actions
    swap_BB = _energies(energy, Pairs(batch.hidden, experts, batch.pad_mask, shared=True))
    positive_B = swap_BB.diagonal()
    if negatives is None:
        mixed_BM = swap_BB.new_empty(len(swap_BB), 0)
    else:
        mixed_BM = _energies(energy, Pairs(batch.hidden, negatives, batch.pad_mask, shared=False))

    temperature = choose(plan, swap_BB.detach(), log_tau)
    negative_BN, kept_BN = _candidates(swap_BB, mixed_BM, batch.actions, plan)
    tau = temperature.tau if log_tau is None else log_tau.exp()
    contrast_B = contrastive_per_row(plan.sign * positive_B, plan.sign * negative_BN, kept_BN, tau, plan.contrast)
    info_nce = contrast_B.mean()
    total = info_nce
    if plan.anchor > 0:
        seen = swap_BB if plan.swap else positive_B[:, None]
        total = total + plan.anchor * torch.cat((seen, mixed_BM), dim=1).square().mean()
    cosine = None
    if wants_slope:
        own = positive_B if negatives is None else mixed_BM
        slope = torch.autograd.grad(own.sum(), points, create_graph=True, materialize_grads=True)[0]
        slope = slope[:, None] if negatives is None else slope
        if plan.alignment > 0 and negatives is not None:
            cosine_BM = alignment_cosine(slope, batch.actions[:, None] - negatives.detach())
            total = total + plan.alignment * (1 - cosine_BM).mean()
            cosine = float(cosine_BM.detach().mean())
        if plan.gradient_penalty > 0:
            limit = slope_limit(torch.cat((swap_BB, mixed_BM), dim=1).detach(), batch)
            total = total + plan.gradient_penalty * gradient_penalty(slope, limit)
    if negatives is not None and (plan.ranking > 0 or plan.margin > 0):
        distance_BM = (negatives.detach() - batch.actions[:, None]).flatten(2).norm(dim=2)
        if plan.ranking > 0:
            energies = torch.cat((positive_B[:, None], mixed_BM), dim=1)
            distances = torch.cat((torch.zeros_like(distance_BM[:, :1]), distance_BM), dim=1)
            total = total + plan.ranking * ranking_loss(energies, distances)
        if plan.margin > 0:
            total = total + plan.margin * margin_loss(positive_B, mixed_BM, distance_BM, temperature.tau)
    return StepLoss(total, info_nce, swap_BB.detach(), cosine, temperature)


def slope_limit(energy_BN: Tensor, batch: Batch) -> float:
    """Norm of ∇_a E that is free of charge: one standard deviation of E per mean error of the policy.

    Args:
        energy_BN: All energies of the step.
        batch: Without policy actions, the length of noise of standard deviation .05 stands for the error.
    """
    if batch.policy_actions is None:
        error = SIGMAS[0] * math.sqrt(batch.actions[0].numel())
    else:
        error = float((batch.policy_actions - batch.actions).flatten(1).norm(dim=1).mean())
    spread = float(energy_BN.std(correction=0))
    least = float(torch.finfo(energy_BN.dtype).eps)
    return max(spread, least) / max(error, least)


def _candidates(swap_BB: Tensor, mixed_BM: Tensor, actions: Tensor, plan: TrainingPlan) -> tuple[Tensor, Tensor]:
    """The negatives' energies ``[B, N]``, and which of them count."""
    mixed_count = torch.ones_like(mixed_BM, dtype=torch.bool)
    if not plan.swap:
        return mixed_BM, mixed_count
    others = ~torch.eye(len(swap_BB), dtype=torch.bool, device=swap_BB.device)
    if plan.false_negative_radius is not None:
        others &= ~false_negatives(actions, plan.false_negative_radius)
    return torch.cat((swap_BB, mixed_BM), dim=1), torch.cat((others, mixed_count), dim=1)


def _energies(energy: EnergyFunction, pairs: Pairs) -> Tensor:
    return pair_table(energy, lambda h, a, m: (energy(h, a, m),), pairs, memory_budget=None).values[0]
