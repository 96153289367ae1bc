"""What an energy head is trained on: contrastive losses over energies, and terms that shape the energy's field.

Shapes: B contexts, N candidates or negatives, M mixed-in actions per context, H action steps, A action dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from energydiag.objectives import objectives
from energydiag.plan import Contrast

TAU_PLUS = 0.1
"""Prior share of negatives that are positives in the debiased loss: Chuang et al. (2020) have it for ten classes."""


def info_nce_per_row(energy_BN: Tensor, tau: float | Tensor) -> Tensor:
    """InfoNCE (van den Oord et al. 2018, eq. 4) with logits ``-E / tau``; the positive of row i is column i.

    Args:
        energy_BN: Energies with N ≥ B.
        tau: Temperature, > 0.

    Returns:
        ``[B]``, in nats.
    """
    target_B = torch.arange(energy_BN.shape[0], device=energy_BN.device)
    return torch.nn.functional.cross_entropy(-energy_BN / tau, target_B, reduction="none")


def contrastive_per_row(
    positive_B: Tensor,
    negative_BN: Tensor,
    kept_BN: Tensor,
    tau: float | Tensor,
    contrast: Contrast = "joint",
    tau_plus: float = TAU_PLUS,
) -> Tensor:
    """InfoNCE in three forms, with s = −E / τ, or the loss of an objective without a temperature, with s = −E.

    * joint: ``−log(e^{s₊} / (e^{s₊} + Σ e^{s₋}))``, van den Oord et al. 2018, eq. 4;
    * decoupled: ``−log(e^{s₊} / Σ e^{s₋})``, Yeh et al. 2022: the positive is no negative of itself;
    * debiased: ``−log(e^{s₊} / (e^{s₊} + n·g))`` with ``g = max((mean e^{s₋} − τ⁺ e^{s₊}) / (1 − τ⁺), e^{−1/τ})``,
      Chuang et al. 2020 with one positive. Its lower bound was made for similarities in [−1, 1].

    Args:
        positive_B: Energies of the expert's actions.
        negative_BN: Energies of the negatives.
        kept_BN: False where a negative does not count.
        tau: Temperature, > 0.
        contrast: Which form.
        tau_plus: τ⁺ of the debiased form.

    Returns:
        ``[B]``, in nats; 0 for a context without negatives.
    """
    some_B = kept_BN.any(dim=1)
    if not bool(some_B.any()):
        return 0 * positive_B
    if contrast in ("bce", "bt", "margin"):
        loss = objectives()[contrast].loss
        assert loss is not None
        return torch.where(some_B, loss(-positive_B, (-negative_BN).masked_fill(~kept_BN, -math.inf)), 0.0)
    own_B = -positive_B / tau
    # a row without negatives gets zeros in their place, so that no gradient of an empty sum can be NaN
    others_BN = (-negative_BN / tau).masked_fill(~kept_BN, -math.inf).masked_fill(~some_B[:, None], 0.0)
    if contrast == "joint":
        all_B = torch.logsumexp(torch.cat((own_B[:, None], others_BN), dim=1), dim=1)
    elif contrast == "decoupled":
        all_B = torch.logsumexp(others_BN, dim=1)
    else:
        count_B = kept_BN.sum(dim=1).clamp_min(1).to(own_B)
        all_B = torch.logaddexp(own_B, count_B.log() + _log_debiased(own_B, others_BN, count_B, tau, tau_plus))
    return torch.where(some_B, all_B - own_B, 0.0)


def _log_debiased(own_B: Tensor, others_BN: Tensor, count_B: Tensor, tau: float | Tensor, tau_plus: float) -> Tensor:
    """``log g`` of the debiased form, ``[B]``."""
    top_B = torch.maximum(own_B, others_BN.amax(dim=1)).detach()
    share_B = (others_BN - top_B[:, None]).exp().sum(dim=1) / count_B - tau_plus * (own_B - top_B).exp()
    log_B = share_B.clamp_min(torch.finfo(share_B.dtype).tiny).log() + top_B - math.log(1 - tau_plus)
    floor = torch.ones_like(log_B) * (-1 / tau)
    return torch.where(share_B > 0, torch.maximum(log_B, floor), floor)


def ranking_loss(
    energy_BM: Tensor, distance_BM: Tensor, average: Callable[[Tensor], Tensor] = lambda count: count
) -> Tensor:
    """Mean of softplus(E_near − E_far) over all pairs of one context (Bradley-Terry on distance); 0 without pairs.

    Args:
        energy_BM: Energies of one context's actions.
        distance_BM: Their distances from the expert's.
        average: Over processes with a part of the batch each. The mean of what they get is the mean over all pairs.
    """
    nearer = distance_BM[:, :, None] < distance_BM[:, None, :]
    difference = energy_BM[:, :, None] - energy_BM[:, None, :]
    pairs = average(nearer.sum())
    return functional.softplus(difference).masked_fill(~nearer, 0.0).sum() / torch.where(pairs > 0, pairs, 1)


def margin_loss(
    positive_B: Tensor,
    energy_BM: Tensor,
    distance_BM: Tensor,
    tau: float,
    average: Callable[[Tensor], Tensor] = lambda mean: mean,
) -> Tensor:
    """Mean hinge on an energy gap in proportion to the distance: ``max(0, d/d̄ − (E − E₊)/τ)``.

    At the mean distance d̄ of the batch's actions a gap of one τ is asked for (a guess: a factor e in the softmax),
    which keeps the hinge free of the units of energies and actions. The idea is RoboMonkey's (Kwok et al. 2025).

    Args:
        positive_B: Energies of the expert's actions.
        energy_BM: Energies of other actions.
        distance_BM: Their distances from the expert's.
        tau: Temperature.
        average: Over processes with a part of the batch each.
    """
    unit = average(distance_BM.mean()).clamp_min(torch.finfo(distance_BM.dtype).tiny)
    return functional.relu(distance_BM / unit - (energy_BM - positive_B[:, None]) / tau).mean()


def alignment_cosine(gradient_BMHA: Tensor, way_BMHA: Tensor) -> Tensor:
    """``[B, M]``: cosine, over the whole chunk, of −∇_a E with the way to the expert's action; 0 for a zero vector."""
    return functional.cosine_similarity(-gradient_BMHA.flatten(2), way_BMHA.flatten(2), dim=2)


def gradient_penalty(gradient_BMHA: Tensor, limit: float) -> Tensor:
    """Mean of ``max(0, ‖∇_a E‖ / limit − 1)²``, the squared hinge of Florence et al. 2021, in units of the limit.

    Args:
        gradient_BMHA: ∇_a E.
        limit: Norm over the whole chunk that is free of charge, > 0.
    """
    return functional.relu(gradient_BMHA.flatten(2).norm(dim=2) / limit - 1).square().mean()


def false_negatives(actions_BHA: Tensor, radius: float) -> Tensor:
    """``[B, B]`` bool: other contexts' actions that differ by less than ``radius`` (mean absolute) from one's own."""
    flat = actions_BHA.flatten(1)
    distance_BB = torch.cdist(flat, flat, p=1) / flat.shape[1]
    near = distance_BB < radius
    near.fill_diagonal_(False)
    return near
