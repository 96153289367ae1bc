"""What a pickle gave back, as plain containers of plain tensors.

Attributes that a file may set on its objects stand before the methods of their classes: an ``OrderedDict`` whose
``items`` is text, a ``Parameter`` whose ``dim`` is a number. Nobody behind this has to think of it.
"""

from __future__ import annotations

from typing import Any

import torch

from energydiag.files.names import LONGEST_NAME

_DEEPEST = 100
"""Levels of containers; trainers nest five or six. Also ends what contains itself."""


class NotPlain(ValueError):
    """Containers without end, a key that is one, or a tensor of lists, which has no sizes."""


def plain(value: Any) -> Any:
    """The same contents: dicts, lists and tuples of their own, tensors without attributes, all else as it is.

    Raises:
        NotPlain: Containers are too deep or contain themselves, a key is very long, or a tensor has no sizes.
    """
    return _plain(value, _DEEPEST, {})


def _plain(value: Any, deep: int, made: dict[int, Any]) -> Any:
    """``made`` holds what became of each container, so that one that stands in many places is gone through once."""
    if deep < 0:
        raise NotPlain("its containers are nested without end")
    if isinstance(value, torch.Tensor):
        if value.is_nested:
            raise NotPlain("it holds nested tensors, whose rows differ in length")
        return torch.Tensor.detach(value)
    if not isinstance(value, dict | list | tuple):
        return value
    if id(value) not in made:
        found: Any
        if isinstance(value, dict):
            found = {_key(key): _plain(item, deep - 1, made) for key, item in dict.items(value)}
        elif isinstance(value, list):
            found = [_plain(item, deep - 1, made) for item in list.__iter__(value)]
        else:
            found = tuple(_plain(item, deep - 1, made) for item in tuple.__iter__(value))
        made[id(value)] = found
    return made[id(value)]


def _key(key: Any) -> str:
    """A key as text; what else a key may be stands in no message and no state dict."""
    if isinstance(key, str):
        text = key
    elif key is None or isinstance(key, bool | int | float | bytes):
        text = repr(key)
    else:
        text = f"<{type(key).__name__}>"
    if len(text) > LONGEST_NAME:
        raise NotPlain(f"a key has {len(text)} characters")
    return text
