"""The module that can be asked by one process alone, and why there may be none."""

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


def why_not_alone(module: nn.Module) -> str:
    """Why one process cannot ask this module, or an empty text where it can.

    Weights that are spread over processes are gathered in every call, for which all processes have to call. If one
    called alone, it would wait for the others for ever.
    """
    if any(type(part).__name__ == "FullyShardedDataParallel" for part in module.modules()):
        return "its weights are spread over the processes by FSDP"
    for parameter in module.parameters():
        if type(parameter).__name__ == "DTensor" or type(parameter.data).__name__ == "DTensor":
            return "its weights are spread over the processes (DTensor)"
        if hasattr(parameter, "ds_tensor"):
            return "its weights are spread over the processes by DeepSpeed"
    return ""
