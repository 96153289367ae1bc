"""The one list of payloads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Use = Literal["checkpoint", "batch", "run", "report"]
Maker = Callable[[Path], Path]
"""Fills an empty folder and says which path is to be named on the command line."""

MARKER = "RAN"
"""What a payload leaves in its folder if anything inside of it is run."""


@dataclass(frozen=True)
class Payload:
    """A file that means harm.

    Attributes:
        name: Family and what it does.
        make: Fills a folder.
        uses: As what it is given to the program.
        told: What the message must say, a regular expression.
        alive: The pickle in it, where `pickle.loads` really runs it and leaves the marker; None elsewhere.
    """

    name: str
    make: Maker
    uses: tuple[Use, ...]
    told: str = ""
    alive: Callable[[Path], bytes] | None = None


_KNOWN: dict[str, Payload] = {}


def register(payload: Payload) -> None:
    """Adds a payload; two of one name are a mistake."""
    if payload.name in _KNOWN:
        raise ValueError(f"two payloads are called {payload.name}")
    _KNOWN[payload.name] = payload


def hostile(*uses: Use, told: str = "") -> Callable[[Maker], Maker]:
    """Registers a function that fills a folder, by its module's and its own name."""

    def decorate(make: Maker) -> Maker:
        family = make.__module__.rpartition(".")[2]
        register(Payload(f"{family}:{make.__name__}", make, uses, told))
        return make

    return decorate


def payloads() -> tuple[Payload, ...]:
    """All that the imported families registered, in order."""
    return tuple(_KNOWN.values())


def written(folder: Path, name: str, content: bytes) -> Path:
    """A file in the folder."""
    path = folder / name
    path.write_bytes(content)
    return path
