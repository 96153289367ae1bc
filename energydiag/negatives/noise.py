"""The expert's action with Gaussian noise, at several strengths."""

from __future__ import annotations

import torch
from torch import Tensor

from energydiag.batch import Batch
from energydiag.negatives.source import NegativeSource

SIGMAS = (0.05, 0.15, 0.3)
"""Strengths in action units, for actions scaled to [-1, 1]: about a policy's error, three and six times it."""

DRAWS = 1
"""Noisy copies per sample and strength."""


def noisy(actions: Tensor, sigma: float, draws: int, generator: torch.Generator) -> Tensor:
    """``[N, draws, H, A]``: the actions ``[N, H, A]`` plus noise of standard deviation ``sigma``."""
    shape = (actions.shape[0], draws, *actions.shape[1:])
    noise = torch.randn(shape, generator=generator, dtype=torch.float32).to(actions.device, actions.dtype)
    return actions[:, None] + sigma * noise


def _make(batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
    return {f"noise_{sigma:g}": noisy(batch.actions, sigma, DRAWS, generator) for sigma in SIGMAS}


SOURCE = NegativeSource("noise", needs=(), make=_make)
