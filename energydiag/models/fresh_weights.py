"""Parameters drawn anew, as each module initializes itself, through what computes a weight from others.

``reset_parameters`` writes into ``weight``. Where that is computed from parameters, by `torch.nn.utils.parametrize` or
by the hooks of the older ``weight_norm`` and ``spectral_norm``, the parameters are set to those that give what was
drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm


def unresettable(module: nn.Module) -> tuple[str, ...]:
    """Paths of the modules that hold trained parameters of their own and have no method that draws them anew."""
    drawn_with_owner = {
        part for owner in module.modules() if _resetter(owner) is not None for part in _parametrizations(owner).values()
    }
    return tuple(
        name or "the model itself"
        for name, part in module.named_modules()
        if part not in drawn_with_owner
        and any(p.requires_grad for p in part.parameters(recurse=False))
        and _resetter(part) is None
    )


def redraw(module: nn.Module, seed: int) -> None:
    """Draws all parameters anew, but those of modules in which none is trained."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        # inner modules first: an outer one may have its own way with what is inside, as attention has
        for part in reversed(list(module.modules())):
            reset, parameters = _resetter(part), list(part.parameters())
            frozen = bool(parameters) and not any(p.requires_grad for p in parameters)
            if reset is not None and not frozen:
                _reset(part, reset)


def _resetter(module: nn.Module) -> Callable[[], object] | None:
    """What torch calls the method that gives a module its first weights; attention's has an underscore."""
    found = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
    return cast("Callable[[], object] | None", found)


def _parametrizations(module: nn.Module) -> dict[str, nn.Module]:
    """By the name of the tensor that each computes."""
    if not parametrize.is_parametrized(module):
        return {}
    return dict(cast("nn.ModuleDict", module.parametrizations).items())


def _reset(module: nn.Module, reset: Callable[[], object]) -> None:
    hooks = [hook for hook in module._forward_pre_hooks.values() if isinstance(hook, WeightNorm | SpectralNorm)]
    for hook in hooks:  # what is there may be part of a graph
        setattr(module, hook.name, getattr(module, hook.name).detach().clone())
    with parametrize.cached():  # so that what is written into is still there to be read
        reset()
        drawn = {name: getattr(module, name).clone() for name in _parametrizations(module)}
    for name, value in drawn.items():
        setattr(module, name, value)
    for hook in hooks:
        _set_parameters(module, hook)


def _set_parameters(module: nn.Module, hook: WeightNorm | SpectralNorm) -> None:
    """Those from which a hook computes the weight that is there now."""
    weight: Tensor = getattr(module, hook.name)
    if isinstance(hook, SpectralNorm):
        getattr(module, f"{hook.name}_orig").copy_(weight)
        return
    getattr(module, f"{hook.name}_g").copy_(torch.norm_except_dim(weight, 2, hook.dim))
    getattr(module, f"{hook.name}_v").copy_(weight)
