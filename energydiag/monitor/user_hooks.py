"""Hooks of the user's that only watch the training, and must not see the monitor's calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import torch
from torch import Tensor, nn

from energydiag.models.left_as_found import BACKWARD_HOOKS, FORWARD_HOOKS


def remove_hooks(module: nn.Module, *, forward: bool) -> None:
    """Takes away the user's backward hooks, and the forward hooks on request; torch's own stay.

    Args:
        module: Whose, and whose submodules'.
        forward: Whether forward hooks go as well.
    """
    for hooks in _hooks(module, (*BACKWARD_HOOKS, *(FORWARD_HOOKS if forward else ()))):
        for number in [number for number, hook in hooks.items() if not _is_of_torch(hook)]:
            del hooks[number]


def has_forward_hooks(module: nn.Module) -> bool:
    """Whether there are forward hooks of the user's."""
    return any(not _is_of_torch(hook) for hooks in _hooks(module, FORWARD_HOOKS) for hook in hooks.values())


def _hooks(module: nn.Module, names: tuple[str, ...]) -> Iterator[MutableMapping[int, Any]]:
    return (getattr(part, name) for part in module.modules() for name in names)


def _is_of_torch(hook: Any) -> bool:
    """Whether a hook is one of torch's, such as those that compute a normalized or a pruned weight."""
    home = getattr(getattr(hook, "__func__", hook), "__module__", None) or type(hook).__module__
    return str(home).partition(".")[0] == "torch"


def writes(module: nn.Module, call: Callable[[], Tensor]) -> tuple[Tensor, bool]:
    """What a call returns, and whether it gave a submodule another tensor as an attribute, as a computed weight is."""

    def held() -> list[tuple[str, int]]:
        return [(n, id(v)) for part in module.modules() for n, v in vars(part).items() if isinstance(v, torch.Tensor)]

    before = held()
    answer = call()
    return answer, held() != before
