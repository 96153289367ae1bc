"""Why a module cannot be called by one process alone."""

from __future__ import annotations

from torch import nn


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
