"""The folder of a watched run: ``metrics.jsonl``, ``config.json`` beside it, and ``events.jsonl``.

A row is appended with one write and its newline at its end, so that a reader finds it whole or leaves it out. JSON
tells a line that was cut from a whole one, which CSV cannot do for the last cell.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from energydiag.atomic import write_text
from energydiag.errors import UsageError, first_line
from energydiag.monitor.history import History, line_of, rows_of

LOG = "metrics.jsonl"
CONFIG = "config.json"
_LOGS = ("metrics.csv", LOG)  # `inspect run` takes the first one that is in a folder
EVENTS = "events.jsonl"
_OURS = "monitor"
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""A link is not written through, and a pipe is not waited for."""

"""Key in ``config.json`` by which our own is known."""


class LogFolder:
    """What is written, by one process.

    Args:
        folder: Made if need be.
        resume: Go on with the log that is there, if one is.

    Raises:
        UsageError: It holds a log and ``resume`` is off, or the log of another program, or it cannot be written.
    """

    def __init__(self, folder: Path, resume: bool) -> None:
        self.path = folder
        there = [name for name in _LOGS if os.path.lexists(folder / name)]
        others = [name for name in there if name != LOG]
        if others or (there and not resume):
            raise UsageError(
                f"{folder} holds a training log already ({(others or there)[0]}).",
                "name another folder." if others else "name another folder, or go on with it: Monitor(…, resume=True).",
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            text = (folder / LOG).read_text(encoding="utf-8", errors="replace") if there else ""
        except OSError as error:
            raise UsageError(
                f"{folder} cannot be used: {error.strerror or error}.", "name a folder that can be written."
            ) from error
        self.history = History(_in_order(text))
        self._waiting: dict[str, str] = {}

    def begin(self, step: int) -> None:
        """Drops what an earlier part of the run logged from this step on, and a line that was cut.

        Raises:
            UsageError: The log cannot be written.
        """
        self.history = self.history.before(step)
        if (self.path / LOG).exists():
            self.write_anew()

    def write_anew(self) -> None:
        """The whole log from memory, whole or not at all.

        Raises:
            UsageError: It cannot be written.
        """
        self._waiting.pop(LOG, None)
        write_text(self.path / LOG, "".join(map(line_of, self.history.rows())))

    def write_config(self, config: Mapping[str, Any]) -> str:
        """Settings beside the log; what was in the way, or an empty text.

        Raises:
            UsageError: They cannot be written.
        """
        path = self.path / CONFIG
        try:
            before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {_OURS: {}}
        except (OSError, ValueError) as error:
            return f"{CONFIG} was left as it is: {first_line(error)}"
        if not isinstance(before, dict) or _OURS not in before:
            return (
                f"{CONFIG} was left as it is: another program wrote it; `energydiag inspect run` takes settings from it"
            )
        write_text(path, json.dumps(config, indent=2) + "\n")
        return ""

    def append(self, lines: str, name: str = LOG) -> None:
        """Adds lines to a file.

        Raises:
            OSError: They could not be written; they are tried again with the next ones.
        """
        self._waiting[name] = self._waiting.get(name, "") + lines
        path, data = self.path / name, self._waiting[name].encode()
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NO_LINK, 0o666)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(f"{name} is no plain file")
            size = os.fstat(descriptor).st_size
            written = os.write(descriptor, data)
            if written < len(data):  # a full disk; half a row would swallow the next one
                os.ftruncate(descriptor, size)
                raise OSError("only a part could be written")
        finally:
            os.close(descriptor)
        self._waiting.pop(name)


def _in_order(text: str) -> list[dict[str, float]]:
    """Rows by their steps, of which an attempt that began anew may have logged some twice: the later counts."""
    return sorted(rows_of(text), key=lambda row: row["step"])
