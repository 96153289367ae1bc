"""A stranger's text and a stranger's file names: shown without harm, and followed only where they may lead."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from energydiag.errors import UnreadableFile

_SHOWN = 60
"""Characters of a stranger's text that a message shows."""

MOST_NAMES = 250_000
"""Of tensors in a checkpoint or a dump (heuristic: the largest mixtures of experts have fewer)."""

LONGEST_NAME = 1000
"""Characters of a tensor's name (heuristic: those of models stay below two hundred)."""


def check_names(names: Collection[str], path: Path) -> None:
    """Refuses tensors that are so many, or called so, that going through their names alone takes very long.

    Raises:
        UnreadableFile: They are more than `MOST_NAMES`, or one is longer than `LONGEST_NAME`.
    """
    if len(names) > MOST_NAMES:
        raise UnreadableFile(
            f"{path} holds {len(names)} tensors; at most {MOST_NAMES} are read.", "save the energy model's alone."
        )
    longest = max(map(len, names), default=0)
    if longest > LONGEST_NAME:
        raise UnreadableFile(
            f"{path} holds a tensor whose name has {longest} characters; at most {LONGEST_NAME} are read.",
            "save a dict of tensors by their names.",
        )


def shown(value: Any) -> str:
    """A stranger's value in a message: short, and without characters that a terminal obeys."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if isinstance(value, int) and abs(value) >> 256:
        return "a number of many digits"  # which Python does not even print
    if not (value is None or isinstance(value, str | bytes | int | float)):
        return f"a {type(value).__name__}"  # whose inside may have no end
    text = repr(value[: _SHOWN + 1] if isinstance(value, str | bytes) else value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def is_plain(name: str) -> bool:
    """Whether a name is one step down from its folder on any system, and can be printed."""
    steps = {PurePosixPath(name).name, PureWindowsPath(name).name}
    return steps == {name} and name not in ("", "..") and name.isprintable() and len(name.encode()) <= 255


def inside(path: Path, next_step: str = "copy the whole folder again.") -> Path:
    """The file that a path leads to, if it is a plain one in the path's own folder.

    Args:
        path: Of the file.
        next_step: What to do where it cannot be read.

    Raises:
        UnreadableFile: It is missing, no plain file, or a link that leads out of the folder.
    """
    try:
        target = path.resolve(strict=True)
        if target.parent != path.parent.resolve():
            raise UnreadableFile(
                f"{path} is a link that leads out of its folder; it was not followed.",
                "copy the file into the folder (`cp -rL` copies what links lead to).",
            )
        if not target.is_file():
            raise UnreadableFile(f"{path} is no plain file.", "put the file itself there.")
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
        said = error.strerror if isinstance(error, OSError) else "a link that leads to itself"
        raise UnreadableFile(f"{path} cannot be read: {said}.", next_step) from error
    return target
