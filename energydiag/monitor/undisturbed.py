"""A look at a module in the middle of its training, after which the training goes on as if nobody had looked."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from energydiag.models.left_as_found import left_as_found
from energydiag.monitor.user_hooks import remove_hooks

_SEED = 602


@contextmanager
def undisturbed(module: nn.Module, *, with_hooks: bool = True) -> Iterator[None]:
    """The module in eval mode for a while, with seeded random numbers.

    Afterwards it is as `left_as_found` leaves it, and the random states of Python, NumPy, torch's CPU and the module's
    CUDA devices are those from before. The attribute ``training`` is set directly: a user's ``train()`` or ``eval()``
    may do more than that, such as merging weights.

    Args:
        module: Whose.
        with_hooks: Whether the user's forward hooks run; backward hooks never do.
    """
    devices = sorted({p.device for p in module.parameters() if p.device.type == "cuda"}, key=str)
    python, numbers = random.getstate(), np.random.get_state()
    try:
        with left_as_found(module), torch.random.fork_rng(devices=devices):
            torch.default_generator.manual_seed(_SEED)
            for device in devices:
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(_SEED)
            random.seed(_SEED)
            np.random.seed(_SEED)
            for part in module.modules():
                part.training = False
            remove_hooks(module, forward=not with_hooks)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)
