"""What an energy head is trained on: contrastive losses over a table of energies.

Shapes: B contexts, N candidates; candidate i of a square table is context i's own (the positive).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


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


def chance_loss(negatives: int) -> float:
    """InfoNCE of a model that cannot tell: ``log(1 + N)`` for N negatives."""
    return math.log1p(negatives)


def floor_loss(negatives: int, energy_range: float | None, tau: float) -> float:
    """The lowest InfoNCE that energies inside a range can reach: ``log(1 + N·exp(-R / tau))``.

    All positives at the range's low end and all negatives at its high end give this; nothing gives less.

    Args:
        negatives: N.
        energy_range: R, highest minus lowest possible energy; None for an unbounded head, whose floor is 0.
        tau: Temperature.
    """
    return 0.0 if energy_range is None else math.log1p(negatives * math.exp(-energy_range / tau))
