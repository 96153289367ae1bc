"""Results to plain JSON and back, by their type hints alone.

What is read back may be a stranger's, and reports and figures trust it: every value has to be what its type says, down
to the last number. A dataclass may look at the whole of itself besides, in a method ``check``.
"""

from __future__ import annotations

import functools
import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

Kind = TypeVar("Kind")

NOT_SAVED = {"saved": False}
"""Metadata of a field that stays in this process."""

AnyFloat = Annotated[float, "NaN and infinities too"]
"""Of curves: what is trained may diverge, and its curve with it; null in JSON, which has no NaN. Others are finite."""

_IN_FRONT = ("verdict", "checkpoint", "run", "batch")
_AT_THE_END = ("provenance", "created", "energydiag_version")

_DEEPEST = 20
"""Levels of what may hold anything; plans and provenance have three or four."""


def plain(value: Any) -> Any:
    """Nested dicts and lists, as JSON has them, which has no NaN; a result with what its ``header`` says in front."""
    if is_dataclass(value) and not isinstance(value, type):
        names = [f.name for f in fields(value) if f.metadata.get("saved", True)]
        names.sort(key=lambda name: (name in _AT_THE_END) - (name in _IN_FRONT))
        return {**_header(value), **{name: plain(getattr(value, name)) for name in names}}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def built(kind: type[Kind], content: Any, where: str = "", *, complete: bool = True) -> Kind:
    """The value that `plain` was given.

    Args:
        kind: A dataclass.
        content: What JSON holds.
        where: What the value is called in messages.
        complete: Whether every field has to be there, also one that has a default.

    Raises:
        TypeError: Something is not what its type says; the message names the place.
    """
    where = where or kind.__name__
    _must(isinstance(content, dict), where)
    own = [f for f in fields(cast("Any", kind)) if f.metadata.get("saved", True)]
    hints, told = hints_of(cast("Any", kind)), cast("dict[str, Any]", {})
    for field in own:
        if field.name in content:
            told[field.name] = _value(hints[field.name], content[field.name], f"{where}.{field.name}", complete)
        else:
            _must(not complete, f"{where}.{field.name}")
            _must(field.default is not MISSING or field.default_factory is not MISSING, f"{where}.{field.name}")
    found = kind(**told)
    header = _header(found)
    _must(not content.keys() - header.keys() - {field.name for field in own}, where)
    for name, value in header.items():
        _must(content.get(name) == value, f"{where}.{name}")
    check = getattr(found, "check", None)
    _must(check is None or check(), where)
    return found


def _header(value: Any) -> dict[str, Any]:
    header: dict[str, Any] = value.header() if hasattr(value, "header") else {}
    return header


@functools.cache
def hints_of(kind: type) -> Mapping[str, Any]:
    """The types of a dataclass's fields."""
    import numpy
    from numpy.typing import NDArray

    return get_type_hints(kind, localns={"NDArray": NDArray, "np": numpy}, include_extras=True)


def _value(kind: Any, content: Any, where: str, complete: bool) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        return built(kind, content, where, complete=complete)
    if kind is Any:
        _check_plain(content, where, _DEEPEST)
    elif kind == AnyFloat and content is None:
        return math.nan
    elif kind == AnyFloat or kind is float:
        whole = type(content) is int and _is_small(content)
        _must(type(content) is float or whole, where)
        _must(kind is not float or math.isfinite(content), where)
    elif origin is Literal:
        _must(isinstance(content, str) and content in inner, where)
    elif origin in (Union, types.UnionType):
        if content is not None:
            return _value(next(one for one in inner if one is not types.NoneType), content, where, complete)
        _must(types.NoneType in inner, where)
    elif origin is tuple:
        _must(isinstance(content, list), where)
        kinds = [inner[0]] * len(content) if inner[-1] is Ellipsis else inner
        _must(len(content) == len(kinds), where)
        pairs = enumerate(zip(content, kinds, strict=True))
        return tuple(_value(own, item, f"{where}[{number}]", complete) for number, (item, own) in pairs)
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        _must(isinstance(content, dict) and all(isinstance(key, str) for key in content), where)
        return {key: _value(inner[1], item, f"{where}[…]", complete) for key, item in content.items()}
    else:
        _must(type(content) is kind and (kind is not int or _is_small(content)), where)
    return content


def _is_small(value: int) -> bool:
    """What NumPy and matplotlib hold."""
    return abs(value) < 1 << 63


def _check_plain(value: Any, where: str, deep: int) -> None:
    """Anything that JSON holds, but no endless depth."""
    _must(deep > 0, where)
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _check_plain(item, where, deep - 1)
    elif type(value) is int:
        _must(_is_small(value), where)
    elif type(value) is float:
        _must(math.isfinite(value), where)
    else:
        _must(value is None or isinstance(value, str | bool), where)


def _must(fine: bool, where: str) -> None:
    if not fine:
        raise TypeError(f"{where} is not as energydiag writes it")
