"""One new thing is one new file: finds the constant that every module of a package exports."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from typing import Any, TypeVar

Thing = TypeVar("Thing")


@functools.cache
def _discover(package: str, constant: str) -> dict[str, tuple[Any, str]]:
    found: dict[str, tuple[Any, str]] = {}
    for info in sorted(pkgutil.iter_modules(importlib.import_module(package).__path__), key=lambda i: i.name):
        module = importlib.import_module(f"{package}.{info.name}")
        if not hasattr(module, constant):
            continue
        thing = getattr(module, constant)
        name = getattr(thing, "name", None)
        if not isinstance(name, str):
            raise TypeError(f"{module.__file__}: {constant} must have a `name` that is text, not {name!r}")
        if name in found:
            raise ValueError(f"{module.__file__}: {constant} {name!r} is already defined in {found[name][1]}")
        found[name] = (thing, str(module.__file__))
    return found


def discover(package: str, constant: str, kind: type[Thing]) -> dict[str, Thing]:
    """What the modules of a package export under one name, by the things' own names, in order of the files.

    Args:
        package: Dotted name of the package; its modules are imported.
        constant: The name that a module exports, such as ``"RULE"``; modules without it are helpers.
        kind: What it must be.

    Raises:
        TypeError: A module exports something else; the message names the file.
        ValueError: Two modules export things of the same name.
    """
    things: dict[str, Thing] = {}
    for name, (thing, file) in _discover(package, constant).items():
        if not isinstance(thing, kind):
            raise TypeError(f"{file}: {constant} must be a {kind.__name__}, not a {type(thing).__name__}")
        things[name] = thing
    return things
