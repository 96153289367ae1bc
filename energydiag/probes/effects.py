"""What effects on the energy are compared with, and over how many samples."""

from __future__ import annotations

import torch
from torch import Tensor

MOST_SAMPLES = 256

CONSTANT = "the energy is the same everywhere, so there is nothing to compare effects with"
"""Why nothing is measured where the spread is 0."""


def energy_spread(energy: Tensor) -> float:
    """Standard deviation of all energies; 0 where it is below the rounding of the largest."""
    spread = float(energy.double().std(correction=0))
    rounding = torch.finfo(energy.dtype).eps * float(energy.abs().max())
    return spread if spread > rounding else 0.0
