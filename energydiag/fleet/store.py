"""Answers in a folder: one file each, written whole, found again by what they are the answer to."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from energydiag.atomic import write_text
from energydiag.errors import UnreadableFile, UsageError, first_line
from energydiag.inert import inert
from energydiag.plain_file import read_plain
from energydiag.results.reading import read_json

_HASH = 16
"""Hexadecimal digits of a key in a file's name; the file holds the whole key."""

_MOST_BYTES = 16 << 20
"""Of an answer; a checkpoint's has about a tenth of a megabyte."""

_MOST_FILES = 8
"""That are opened for one key; there are two where a checkpoint was kept under two names."""


class Store:
    """A folder of answers, which many programs may fill at a time; what is in it may be a stranger's.

    Args:
        folder: Made when the first answer is put there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """What the folder holds for this key, as harmless JSON; whoever asks must see whether it is an answer.

        Raises:
            UsageError: The folder cannot be listed.
        """
        try:
            found = sorted(self._folder.glob(f"*-{digest(key)}.json")) if self._folder.exists() else []
        except OSError as error:
            raise UsageError(f"{self._folder} cannot be read: {first_line(error)}.", "check --out.") from error
        for path in found[:_MOST_FILES]:
            try:
                kept = read_json(read_plain(path, _MOST_BYTES), inert) if _is_file(path) else None
            except (UnreadableFile, ValueError):  # damaged: it is measured again
                continue
            if isinstance(kept, dict) and kept.get("key") == dict(key):
                yield kept

    def put(self, name: str, key: Mapping[str, Any], answer: Mapping[str, Any], **beside: Any) -> Path:
        """Writes an answer, whole or not at all.

        Args:
            name: For people who look into the folder.
            key: What it is the answer to, as JSON has it.
            answer: The answer, likewise.
            **beside: What else is worth keeping, likewise.

        Raises:
            UsageError: The folder cannot be written to.
        """
        tidy = re.sub(r"[^\w.=+-]+", "_", name, flags=re.ASCII).strip("._-")[:80] or "checkpoint"
        path = self._folder / f"{tidy}-{digest(key)}.json"
        if os.path.lexists(path) and not _is_file(path):  # a link, a pipe: it is left as it is
            path = path.with_name(f"again-{path.name}")
        write_text(path, json.dumps({"key": dict(key), **beside, "answer": dict(answer)}, ensure_ascii=False) + "\n")
        return path


def _is_file(path: Path) -> bool:
    """Whether this is a file itself, and no link to one from elsewhere."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def digest(key: Mapping[str, Any]) -> str:
    """A key as a short hash."""
    text = json.dumps(key, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH]
