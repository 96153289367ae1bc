"""Negatives that the dump itself brings: those that the owner trained with."""

from __future__ import annotations

import torch
from torch import Tensor

from energydiag.batch import Batch
from energydiag.negatives.source import NegativeSource


def _make(batch: Batch, _generator: torch.Generator) -> dict[str, Tensor]:
    return {} if batch.negatives is None else {"supplied": batch.negatives}


SOURCE = NegativeSource("supplied", needs=("negatives",), make=_make)
