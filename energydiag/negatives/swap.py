"""Other samples' expert actions: the negatives of in-batch InfoNCE."""

from __future__ import annotations

import torch
from torch import Tensor


def swap_sets(samples: int, size: int, generator: torch.Generator) -> Tensor:
    """Which samples meet which: sets of contexts in which everyone's expert action is everyone else's negative.

    Args:
        samples: N.
        size: C, contexts in a set; all of them if there are fewer.
        generator: Draws the sets.

    Returns:
        ``[K, C]`` indices, none twice. The N mod C samples left over are in no set, so that all sets have the same
        chance level.
    """
    size = min(size, samples)
    order = torch.randperm(samples, generator=generator)
    count = samples // size
    return order[: count * size].reshape(count, size)
