"""Whether a result that was read from a file is what its types say, down to the last number.

Reports and figures trust their results; a file may be a stranger's.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from energydiag.results.diagnosis import Curve

_NOT_SAVED = "draws"
_ABOUT_A_RUN = ("run", "rows", "format", "steps", "series", "limits")
_ABOUT_A_BATCH = ("samples", "samples_used", "episodes", "hidden", "actions")
_ABOUT_A_MODEL = ("architecture", "parameters", "energy")
_DEEPEST = 20
"""Levels of what may hold anything; plans and provenance have three or four."""


def checked(result: Any) -> Any:
    """The same result.

    Raises:
        TypeError: Something in it is not what its type says; the message names the place.
    """
    _check(result, type(result), type(result).__name__)
    return result


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    import numpy
    from numpy.typing import NDArray

    return get_type_hints(kind, localns={"NDArray": NDArray, "np": numpy})


def _check(value: Any, kind: Any, where: str, finite: bool = True) -> None:
    """Compares a value with a type, and what is inside of it with what the type says of that."""
    if isinstance(kind, type) and is_dataclass(kind):
        _must(isinstance(value, kind), where)
        for field in fields(kind):
            if field.name != _NOT_SAVED:
                hint = _hints(kind)[field.name]
                _check(getattr(value, field.name), hint, f"{where}.{field.name}", kind is not Curve)
        _check_words(value, where)
        return
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        _check_plain(value, where, _DEEPEST)
    elif origin is Literal:
        _must(isinstance(value, str) and value in inner, where)
    elif origin in (Union, types.UnionType):
        if value is not None:
            _check(value, next(one for one in inner if one is not type(None)), where, finite)
        else:
            _must(type(None) in inner, where)
    elif origin is tuple:
        _must(isinstance(value, tuple), where)
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        _must(len(value) == len(kinds), where)
        for number, (item, own) in enumerate(zip(value, kinds, strict=True)):
            _check(item, own, f"{where}[{number}]", finite)
    elif origin is not None and issubclass(origin, Mapping):
        _must(isinstance(value, dict) and all(isinstance(key, str) for key in value), where)
        for item in value.values():
            _check(item, inner[1], f"{where}[…]")
    elif kind is float:
        # what is trained may diverge, and its curve with it; a measurement is told where it is a number alone
        _must(type(value) is float or (type(value) is int and _is_small(value)), where)
        _must(not finite or math.isfinite(value), where)
    else:
        _must(type(value) is kind and (kind is not int or _is_small(value)), where)


def _is_small(value: int) -> bool:
    """What NumPy and matplotlib hold."""
    return abs(value) < 1 << 63


def _check_plain(value: Any, where: str, deep: int) -> None:
    """Anything that JSON holds, but no endless depth."""
    _must(deep > 0, where)
    if isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            _check_plain(item, where, deep - 1)
    elif type(value) is int:
        _must(_is_small(value), where)
    else:
        _must(value is None or isinstance(value, str | bool | float), where)


def _check_words(value: Any, where: str) -> None:
    """The words without which a diagnosis cannot be told."""
    batch, checkpoint = getattr(value, "batch", None), getattr(value, "checkpoint", None)
    if not (hasattr(value, "findings") and isinstance(batch, dict) and isinstance(checkpoint, dict)):
        return
    for word in _ABOUT_A_RUN if "run" in batch else _ABOUT_A_BATCH:
        _must(word in batch, f"{where}.batch, {word},")
    for word in _ABOUT_A_MODEL if checkpoint else ():
        _must(word in checkpoint, f"{where}.checkpoint, {word},")


def _must(fine: bool, where: str) -> None:
    if not fine:
        raise TypeError(f"{where} is not as energydiag writes it")
