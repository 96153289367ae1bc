"""The policy's own action: what the energy has to improve on."""

from __future__ import annotations

import torch
from torch import Tensor

from energydiag.batch import Batch
from energydiag.negatives.source import NegativeSource


def _make(batch: Batch, _generator: torch.Generator) -> dict[str, Tensor]:
    return {} if batch.policy_actions is None else {"policy": batch.policy_actions[:, None]}


SOURCE = NegativeSource("policy", needs=("policy_actions",), make=_make)
