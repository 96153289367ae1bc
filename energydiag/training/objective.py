"""The loss of one step: contrast with swap and mixed-in negatives, and the terms that shape the energy's field.

Where several processes share a step, each has the contexts of b of the B samples and the actions of all: its rows of
the swap table, ``[b, B]``, are those that one process would compute, and the mean of the processes' losses is its loss.

Shapes: B samples of the step, b of them one's own (alone: all), M mixed-in actions per context, N = B + M candidates,
H action steps, A action dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
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
from energydiag.negatives.part import Part, own_pairs, unchanged
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
        swap: Energies of the swap table ``[b, B]``, without gradient.
        alignment: Mean cosine between the descent direction and the way to the expert, or None.
        temperature: The temperature and why.
    """

    total: Tensor
    info_nce: Tensor
    swap: Tensor
    alignment: float | None
    temperature: TemperatureChoice


def mixed_in(
    energy: EnergyFunction, batch: Batch, plan: TrainingPlan, generator: torch.Generator, part: Part | None = None
) -> Tensor | None:
    """The plan's negatives beside the swap ones, ``[b, M, H, A]``, or None where it has none."""
    part = part or Part.everything(batch)
    known, whole = sources(), part.whole
    parts = [part.own(made) for name in plan.sources for made in known[name].make(whole, generator).values()]
    with _precision(energy, plan):
        if plan.improved_negatives:
            parts.append(improved_negatives(energy, batch, generator, part))
        if plan.descent is not None:
            starts = [batch.actions[:, None], part.own(noisy(whole.actions, _FAR_START, 1, generator))]
            if batch.policy_actions is not None:
                starts.insert(1, batch.policy_actions[:, None])
            ends = descend(energy, batch.hidden, torch.cat(starts, 1), batch.pad_mask, plan.descent, generator, part)
            parts.append(ends)
    return torch.cat(parts, dim=1).detach() if parts else None


def step_loss(
    energy: EnergyFunction,
    batch: Batch,
    plan: TrainingPlan,
    generator: torch.Generator,
    log_tau: Tensor | None = None,
    part: Part | None = None,
) -> StepLoss:
    """The plan's loss on one batch, differentiable in the parameters.

    Args:
        energy: In training mode.
        batch: b samples, on the energy's device and in its type.
        plan: Which terms.
        generator: Draws noise, on the CPU.
        log_tau: The parameter of a learnable temperature.
        part: Which of the step's samples they are; None: all.
    """
    part = part or Part.everything(batch)
    negatives = mixed_in(energy, batch, plan, generator, part)
    wants_slope = plan.alignment > 0 or plan.gradient_penalty > 0
    # where nothing is mixed in, the slope that is penalised is the one at the experts' own actions
    points = part.whole.actions.detach().clone() if negatives is None else negatives
    points.requires_grad_(wants_slope)
    experts = points if negatives is None else part.whole.actions
    swap_bB = _energies(energy, Pairs(batch.hidden, experts, batch.pad_mask, shared=True), plan)
    positive_b = swap_bB.diagonal(part.first)
    if negatives is None:
        mixed_bM = swap_bB.new_empty(len(swap_bB), 0)
    else:
        mixed_bM = _energies(energy, Pairs(batch.hidden, negatives, batch.pad_mask, shared=False), plan)

    temperature = choose(plan, swap_bB.detach(), log_tau, part)
    negative_bN, kept_bN = _candidates(swap_bB, mixed_bM, plan, part)
    tau = temperature.tau if log_tau is None else log_tau.exp()
    contrast_b = contrastive_per_row(plan.sign * positive_b, plan.sign * negative_bN, kept_bN, tau, plan.contrast)
    info_nce = contrast_b.mean()
    total = info_nce
    if plan.anchor > 0:
        seen = swap_bB if plan.swap else positive_b[:, None]
        total = total + plan.anchor * torch.cat((seen, mixed_bM), dim=1).square().mean()
    cosine = None
    if wants_slope:
        own = positive_b if negatives is None else mixed_bM
        slope = torch.autograd.grad(own.sum(), points, create_graph=True, materialize_grads=True)[0]
        slope = part.own(slope)[:, None] if negatives is None else slope
        if plan.alignment > 0 and negatives is not None:
            cosine_bM = alignment_cosine(slope, batch.actions[:, None] - negatives.detach())
            total = total + plan.alignment * (1 - cosine_bM).mean()
            cosine = float(cosine_bM.detach().mean())
        if plan.gradient_penalty > 0:
            limit = slope_limit(torch.cat((swap_bB, mixed_bM), dim=1).detach(), part.whole, part.average)
            total = total + plan.gradient_penalty * gradient_penalty(slope, limit)
    if negatives is not None and (plan.ranking > 0 or plan.margin > 0):
        distance_bM = (negatives.detach() - batch.actions[:, None]).flatten(2).norm(dim=2)
        if plan.ranking > 0:
            energies = torch.cat((positive_b[:, None], mixed_bM), dim=1)
            distances = torch.cat((torch.zeros_like(distance_bM[:, :1]), distance_bM), dim=1)
            total = total + plan.ranking * ranking_loss(energies, distances, part.average)
        if plan.margin > 0:
            total = total + plan.margin * margin_loss(positive_b, mixed_bM, distance_bM, temperature.tau, part.average)
    return StepLoss(total, info_nce, swap_bB.detach(), cosine, temperature)


def slope_limit(energy_bN: Tensor, batch: Batch, average: Callable[[Tensor], Tensor] = unchanged) -> float:
    """Norm of ∇_a E that is free of charge: one standard deviation of E per mean error of the policy.

    Args:
        energy_bN: All energies of the step, or one process's share of them.
        batch: All samples of the step. Without policy actions, the length of noise of standard deviation .05 stands
            for the error.
        average: Over processes with equal shares.
    """
    if batch.policy_actions is None:
        error = SIGMAS[0] * math.sqrt(batch.actions[0].numel())
    else:
        error = float((batch.policy_actions - batch.actions).flatten(1).norm(dim=1).mean())
    # the variance of all is the mean, over the shares, of their variance and their mean's squared distance from all's
    mean = energy_bN.mean().double()
    beside = mean - average(mean)
    spread = math.sqrt(float(average(energy_bN.std(correction=0).double().square() + beside.square())))
    least = float(torch.finfo(energy_bN.dtype).eps)
    return max(spread, least) / max(error, least)


def _candidates(swap_bB: Tensor, mixed_bM: Tensor, plan: TrainingPlan, part: Part) -> tuple[Tensor, Tensor]:
    """The negatives' energies ``[b, N]``, and which of them count."""
    mixed_count = torch.ones_like(mixed_bM, dtype=torch.bool)
    if not plan.swap:
        return mixed_bM, mixed_count
    others = ~own_pairs(swap_bB, part.first)
    if plan.false_negative_radius is not None:
        others &= ~part.own(false_negatives(part.whole.actions, plan.false_negative_radius))
    return torch.cat((swap_bB, mixed_bM), dim=1), torch.cat((others, mixed_count), dim=1)


def _precision(energy: EnergyFunction, plan: TrainingPlan) -> AbstractContextManager[object]:
    """What the module's forward passes run under; losses, and slopes of energies, are computed outside of it."""
    if plan.autocast is None:
        return nullcontext()
    # a weight that was cast where no gradient is kept must not be taken again where one is, so nothing is remembered
    return torch.autocast(energy.device.type, getattr(torch, plan.autocast), cache_enabled=False)


def _energies(energy: EnergyFunction, pairs: Pairs, plan: TrainingPlan) -> Tensor:
    with _precision(energy, plan):
        table = pair_table(energy, lambda h, a, m: (energy(h, a, m),), pairs, memory_budget=None)
    return table.values[0].to(energy.dtype)
