"""Answers in a folder: one file each, written whole, found again by what they are the answer to."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from energydiag.atomic import write_text
from energydiag.errors import UsageError, first_line

_HASH = 16
"""Hexadecimal digits of a key in a file's name; the file holds the whole key."""


class Store:
    """A folder of answers, which many programs may fill at a time.

    Args:
        folder: Made when the first answer is put there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """The answer to this key, or None where there is none that can be read.

        Raises:
            UsageError: The folder cannot be listed.
        """
        try:
            found = sorted(self._folder.glob(f"*-{digest(key)}.json")) if self._folder.exists() else []
        except OSError as error:
            raise UsageError(f"{self._folder} cannot be read: {first_line(error)}.", "check --out.") from error
        for path in found:
            try:
                kept = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):  # damaged: it is measured again
                continue
            if isinstance(kept, dict) and kept.get("key") == dict(key) and isinstance(kept.get("answer"), dict):
                return kept
        return None

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
        write_text(path, json.dumps({"key": dict(key), **beside, "answer": dict(answer)}, ensure_ascii=False) + "\n")
        return path


def digest(key: Mapping[str, Any]) -> str:
    """A key as a short hash."""
    text = json.dumps(key, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH]
