"""The precision in which numbers of a model are kept."""

from __future__ import annotations

import torch
from torch import Tensor


def kept(value: Tensor) -> Tensor:
    """In float32 where the type is a smaller one; float64 stays."""
    return value.to(torch.promote_types(value.dtype, torch.float32))
