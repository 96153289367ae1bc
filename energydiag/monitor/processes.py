"""Which process watches, and how the others learn of what it decides."""

from __future__ import annotations

import os

import torch
from torch import distributed


def is_main() -> bool:
    """Whether this is the process with rank 0, or the only one."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank() == 0
    return os.environ.get("RANK", "0") == "0"


def are_many() -> bool:
    """Whether several processes train together."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def of_first(numbers: list[int], device: torch.device) -> list[int]:
    """The first process's numbers; all have to ask.

    Args:
        numbers: One's own, as many everywhere.
        device: Where the weights are; used where the processes talk through GPUs alone.
    """
    on_gpu = "gloo" not in str(distributed.get_backend_config())
    told = torch.tensor(numbers, device=device if on_gpu else "cpu")
    distributed.broadcast(told, 0)
    return [int(number) for number in told.tolist()]
