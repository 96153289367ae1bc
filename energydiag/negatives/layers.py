"""What the policy's intermediate layers would have done: plausible, near, and worse than the last layer."""

from __future__ import annotations

import torch
from torch import Tensor

from energydiag.batch import Batch
from energydiag.negatives.source import NegativeSource


def _make(batch: Batch, _generator: torch.Generator) -> dict[str, Tensor]:
    layers = batch.layer_actions
    if layers is None:
        return {}
    return {f"layer_{index}": layers[:, index : index + 1] for index in range(layers.shape[1])}


SOURCE = NegativeSource("layers", needs=("layer_actions",), make=_make)
