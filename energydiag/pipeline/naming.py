"""Short names of what is compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def distinct_names(paths: Sequence[str]) -> list[str]:
    """Short names that tell paths apart: as many of their last parts as that takes, without what all are called."""
    parts = [Path(path).resolve().parts for path in paths]
    several = len(set(parts))
    while several > 1 and len({own[-1] for own in parts}) == 1:
        parts = [own[:-1] for own in parts]
    depth = 1
    while len({own[-depth:] for own in parts}) < several:
        depth += 1
    shown = ["/".join(own[-depth:]) for own in parts]
    return [name if shown.count(name) == 1 else f"{name}#{shown[: n + 1].count(name)}" for n, name in enumerate(shown)]


def common_name(names: Sequence[str]) -> str:
    """What the names of a group begin with, and how many it is."""
    start = names[0]
    while not all(name.startswith(start) for name in names):
        start = start[:-1]
    start = start.rstrip("/._-0123456789 ") or names[0]
    for ending in ("seed", "s"):
        bare = start.removesuffix(ending).rstrip("/._- ")
        start = bare if bare and bare != start and len(names) > 1 else start
    return start if len(names) == 1 else f"{start} ({len(names)} runs)"
