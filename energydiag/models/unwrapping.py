"""What is inside of modules that wrap a whole model."""

from __future__ import annotations

from typing import cast

from torch import nn

_AROUND = frozenset({"DistributedDataParallel", "DataParallel", "DeepSpeedEngine"})
"""Classes whose ``module`` is the module itself, by name: not all of them are there to be imported."""


def unwrapped(module: nn.Module) -> nn.Module:
    """What is inside of ``torch.compile``'s answer and of data parallelism, however they are nested.

    The inner module has the same parameters and can be asked by one process while the others wait.
    """
    while True:
        if hasattr(module, "_orig_mod"):
            module = cast("nn.Module", module._orig_mod)
        elif type(module).__name__ in _AROUND:
            module = cast("nn.Module", module.module)
        else:
            return module
