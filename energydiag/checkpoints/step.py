"""How long a checkpoint was trained, by what stands in its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from energydiag.errors import EnergydiagError
from energydiag.files.allowed import allowing
from energydiag.files.tensor_file import read_tensor_file

_LARGEST = 1 << 53
"""Steps from here on are none: no training gets there, and their numbers cannot be told apart."""

_KEYS = ("step", "global_step", "iteration", "num_steps", "steps")


def step_inside(path: Path, allow_globals: Sequence[str] = ()) -> int | None:
    """The step that a checkpoint's metadata or its top level tells, or None where nothing does."""
    try:
        with allowing(allow_globals):
            return _found(_metadata(path))
    except EnergydiagError:  # who measures it says what is wrong
        return None


def _metadata(path: Path) -> Mapping[str, Any]:
    file = read_tensor_file(path, "checkpoint")  # tensors stay in the file
    return {**file.contents, **file.metadata}


def _found(told: Mapping[str, Any]) -> int | None:
    for key in _KEYS:
        value: Any = told.get(key)
        try:
            if isinstance(value, torch.Tensor) and value.numel() == 1:
                value = value.item()
            if isinstance(value, bool) or not isinstance(value, int | float | str):
                continue
            step = float(value)
        except (ValueError, OverflowError, RuntimeError):  # text, 400 digits, a tensor without values
            continue
        if 0 <= step < _LARGEST and step.is_integer():
            return int(step)
    return None
