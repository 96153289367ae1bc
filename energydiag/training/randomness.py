"""Randomness without memory: what a step draws depends on the seed and the step alone, so a run can go on anywhere."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def seed_of(seed: int, purpose: str, index: int) -> int:
    """A seed for one purpose at one step or epoch; unrelated to all others."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1  # torch takes 63 bits


def generator(seed: int, purpose: str, index: int = 0) -> torch.Generator:
    """A CPU generator for one purpose at one step or epoch."""
    return torch.Generator().manual_seed(seed_of(seed, purpose, index))


def members(samples: int, size: int, seed: int, step: int) -> Tensor:
    """Which samples meet in a step, ``[min(size, samples)]`` int.

    Every epoch has its own order; the samples left over at its end, fewer than ``size``, wait for the next one.
    """
    size = min(size, samples)
    epoch, place = divmod(step, samples // size)
    order = torch.randperm(samples, generator=generator(seed, "order", epoch))
    return order[place * size : (place + 1) * size]
