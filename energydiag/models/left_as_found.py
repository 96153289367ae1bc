"""A module that is used for a while and is then as it was: attributes, hooks, contents of containers, buffers."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FunctionType
from typing import Any

import torch
from torch import nn

_CONTAINERS = (list, dict, OrderedDict, defaultdict, set, deque)
Undo = Callable[[], None]

FORWARD_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
BACKWARD_HOOKS = ("_backward_pre_hooks", "_backward_hooks")


@contextmanager
def left_as_found(module: nn.Module) -> Iterator[None]:
    """Restores the module when the block ends.

    Attributes, hooks and modes of every submodule are restored, the contents of containers in attributes and in forward
    hooks, such as a list of activations, and the values of buffers. What else a user's code keeps is not seen.
    """
    undo = [*_attributes(module), *_containers(module), *_buffers(module)]
    try:
        yield
    finally:
        for each in undo:
            each()


def _attributes(module: nn.Module) -> Iterator[Undo]:
    for part in module.modules():
        yield partial(_restore_attributes, part.__dict__, dict(part.__dict__))


def _restore_attributes(now: dict[str, Any], before: dict[str, Any]) -> None:
    for name in [name for name in now if name not in before]:
        del now[name]
    now.update({name: value for name, value in before.items() if now.get(name) is not value})


def _containers(module: nn.Module) -> Iterator[Undo]:
    found: dict[int, Any] = {}
    for part in module.modules():
        held = [*vars(part).values()]
        hooks = (hook for name in FORWARD_HOOKS for hook in getattr(part, name).values())
        held += (value for hook in hooks for value in _held_by(hook))
        for value in held:
            found |= {id(each): each for each in (value, *_items(value)) if type(each) in _CONTAINERS}
    yield from (partial(_refill, each, each.copy()) for each in found.values())


def _held_by(hook: Any) -> Iterable[Any]:
    """What a hook can keep things in: its object's attributes, its closure, and the globals that it names."""
    if isinstance(hook, partial):
        return (*_held_by(hook.func), *hook.args, *hook.keywords.values())
    owner = getattr(hook, "__self__", hook)
    own = vars(owner) if hasattr(owner, "__dict__") and not isinstance(owner, nn.Module | FunctionType) else {}
    function = getattr(hook, "__func__", hook)
    closure = getattr(function, "__closure__", None) or ()
    named = getattr(getattr(function, "__code__", None), "co_names", ())
    known = getattr(function, "__globals__", {})
    return (owner, own, *own.values(), *_contents(closure), *(known[name] for name in named if name in known))


def _contents(closure: Iterable[Any]) -> Iterator[Any]:
    for cell in closure:
        try:
            yield cell.cell_contents
        except ValueError:  # it is empty
            continue


def _items(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if type(value) in _CONTAINERS else ()


def _refill(now: Any, before: Any) -> None:
    """Gives a container the contents that it had, if it has others."""
    if _same(now, before):
        return
    now.clear()
    if isinstance(now, list | deque):
        now.extend(before)
    else:
        now.update(before)


def _same(now: Any, before: Any) -> bool:
    if len(now) != len(before):
        return False
    if isinstance(now, dict):
        return list(now) == list(before) and all(now[key] is before[key] for key in before)
    if isinstance(now, set):
        return bool(now == before)
    return all(one is other for one, other in zip(now, before, strict=True))


def _buffers(module: nn.Module) -> Iterator[Undo]:
    for buffer in module.buffers():
        if not buffer.is_inference():
            yield partial(_restore_values, buffer, buffer._version, buffer.detach().clone())


def _restore_values(buffer: torch.Tensor, version: int, value: torch.Tensor) -> None:
    # batch normalization changes its statistics without a new version; what did not change is not touched, since a
    # graph that waits for its backward pass may hold it
    if buffer._version != version or not torch.equal(buffer, value):
        with torch.no_grad():
            buffer.copy_(value)
