"""Where a file is, as tools that look at a repository want to be told."""

from __future__ import annotations

from pathlib import Path, PurePath


def in_repository(path: str) -> str:
    """The path from the working folder on, with forward slashes; empty where the file lies outside of it."""
    known = PurePath(path)
    if not path or "\0" in path:
        return ""
    if known.is_absolute():
        try:
            known = known.relative_to(Path.cwd())
        except ValueError:
            return ""
    return "" if ".." in known.parts else known.as_posix()
