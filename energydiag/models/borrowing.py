"""An energy function lent out: afterwards its module and all random states are as they were before."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch

from energydiag.models.copying import copied
from energydiag.models.energy_function import EnergyFunction
from energydiag.models.left_as_found import left_as_found

_SEED = 602


@contextmanager
def borrowed(energy: EnergyFunction, seed: int) -> Iterator[EnergyFunction]:
    """The function on a copy of its module, or on the module itself where it cannot be copied.

    Random numbers are seeded for the block; afterwards their states are those from before, and so are the module's
    modes, buffers and plain attributes.
    """
    try:
        lent = replace(energy, module=copied(energy.module))
    except torch.OutOfMemoryError:
        raise
    except Exception:  # what a stranger's module raises when copied may be anything
        lent = energy
    with _same_randomness(energy.device, seed), left_as_found(lent.module):
        yield lent


@contextmanager
def _same_randomness(device: torch.device, seed: int) -> Iterator[None]:
    python, numbers = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed * 1009 + _SEED)
            random.seed(seed)
            np.random.seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)
