"""JSON from a file, whose maker may be a stranger, made small and plain before anything looks into it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

_DEEPEST = 40
"""Levels of lists and objects; results have about ten, and twenty in what may hold anything (`checking`)."""

_MOST_INSIDE = 500_000
"""Lists and objects; the result of one checkpoint has about five hundred. Each takes some two hundred bytes."""


def read_json(content: bytes, text: Callable[[str], str]) -> Any:
    """What a file of JSON holds.

    Args:
        content: Of the file.
        text: Makes a text harmless; it is asked for every key and every value.

    Raises:
        ValueError: It is no JSON, or has no end: levels, lists and objects beyond number, or numbers that no float
            holds, which would fail wherever they are used.
    """
    if content.count(b"[") + content.count(b"{") > _MOST_INSIDE:
        raise ValueError(f"more than {_MOST_INSIDE} lists and objects")
    try:
        plain = json.loads(content.decode())
    except RecursionError:
        raise ValueError("lists and objects without end") from None
    return _harmless(plain, text, _DEEPEST)


def _harmless(plain: Any, text: Callable[[str], str], deep: int) -> Any:
    """The same, a list where it stands: all lists of a large file at once would take as much memory again."""
    if deep < 0:
        raise ValueError(f"more than {_DEEPEST} levels of lists and objects")
    if isinstance(plain, dict):
        return {text(key): _harmless(value, text, deep - 1) for key, value in plain.items()}
    if isinstance(plain, list):
        plain[:] = (_harmless(value, text, deep - 1) for value in plain)
        return plain
    if isinstance(plain, str):
        return text(plain)
    if isinstance(plain, int) and abs(plain) > sys.float_info.max:
        raise ValueError("a number that no float holds")
    return plain
