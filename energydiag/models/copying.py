"""A copy of a user's module."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor

from energydiag.models.left_as_found import BACKWARD_HOOKS, FORWARD_HOOKS

Module = TypeVar("Module", bound=nn.Module)

_DEEPEST = 3
"""Containers in containers in which tensors are looked for."""


def copied(module: Module) -> Module:
    """A deep copy, also of a module that holds results of an earlier pass, which torch does not copy.

    Tensors with a history, such as kept activations or the weight of the old `torch.nn.utils.weight_norm`, become plain
    values. Hooks are shared with the original: what they keep may be anything.
    """
    memo: dict[int, Any] = {}
    for part in module.modules():
        hooks = [hook for name in (*FORWARD_HOOKS, *BACKWARD_HOOKS) for hook in getattr(part, name).values()]
        memo |= {id(hook): hook for hook in hooks}
        attributes = {name: value for name, value in vars(part).items() if not name.endswith("_hooks")}
        memo |= {id(each): _plain(each) for each in _not_copied(attributes, _DEEPEST)}
    return copy.deepcopy(module, memo)


def _plain(tensor: Tensor) -> Tensor:
    """Its values alone; one from inside of a map that is over has none."""
    return torch.empty(0) if is_functorch_wrapped_tensor(tensor) else tensor.detach().clone()


def _not_copied(value: Any, depth: int) -> Iterable[Tensor]:
    """Tensors that torch refuses to copy."""
    if isinstance(value, Tensor):
        return () if value.is_leaf and not is_functorch_wrapped_tensor(value) else (value,)
    if depth == 0 or not isinstance(value, dict | list | tuple | set):
        return ()
    values = value.values() if isinstance(value, dict) else value
    return (tensor for each in values for tensor in _not_copied(each, depth - 1))
