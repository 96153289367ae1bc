"""What a user named as a training log, and the bounded reading of its files."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from energydiag.errors import UnreadableFile, UsageError
from energydiag.plain_file import open_plain, read_plain
from energydiag.runs.names import cut

MOST_BYTES = 128 << 20
"""Of a log of text, 128 MiB: a million numbers as JSON with long names are half of that."""

_SMALLER = "log fewer quantities, or every tenth step."
_PIECE = 4 << 20
_LISTED = 8


@dataclass(frozen=True)
class Candidate:
    """A run among several in one place.

    Attributes:
        key: What it is called there without doubt: an id, or a folder's path.
        name: What its maker called it; may be empty, and others may have the same.
    """

    key: str
    name: str = ""

    def __str__(self) -> str:
        if not self.name or self.name == self.key:
            return cut(self.key)
        return f"{cut(self.key)} ({cut(self.name)})"


class Source:
    """The files of one log, read within bounds, and what they hash to together.

    Args:
        place: The file or folder that the user named.
        run: Which of the runs in there, by id or name; empty where none was said.
    """

    def __init__(self, place: Path, run: str = "") -> None:
        self.place = place
        self.run = run
        self._hash = hashlib.sha256()

    def content(self, file: Path, most: int = MOST_BYTES) -> bytes:
        """All of a file.

        Raises:
            UnreadableFile: As `read_plain`.
        """
        content = read_plain(file, most, _SMALLER)
        self._hash.update(content)
        return content

    def pieces(self, file: Path, most: int) -> Iterator[bytes]:
        """A file, some megabytes at a time; errors as `content`."""
        with open_plain(file, most, _SMALLER) as stream:
            while piece := stream.read(_PIECE):
                self._hash.update(piece)
                yield piece

    def sha256(self) -> str:
        """Of what was read, in the order of reading."""
        return self._hash.hexdigest()

    def chosen(self, candidates: Sequence[Candidate]) -> Candidate:
        """The run that is meant: the only one, or the one that the user named.

        Args:
            candidates: All there are, the latest first.

        Raises:
            UnreadableFile: There are none.
            UsageError: There are several and none was named, or the name fits none of them, or several.
        """
        if not candidates:
            raise UnreadableFile(
                f"{self.place} holds no run with numbers.", "check what the training logged, and where."
            )
        if not self.run:
            if len(candidates) == 1:
                return candidates[0]
            raise UsageError(
                f"{self.place} holds {_several(candidates)}.", f"name one of them: {self._example(candidates)}."
            )
        for fit in (_is_key, _is_name, _begins_key):
            found = [one for one in candidates if fit(one, self.run)]
            if len(found) == 1:
                return found[0]
            if found:
                raise UsageError(
                    f"{cut(self.run)!r} may be any of {_several(found)} in {self.place}.",
                    f"name one by its id: {self._example(found)}.",
                )
        raise UsageError(
            f"{self.place} holds no run {cut(self.run)!r}, but {_several(candidates)}.",
            f"name one of them: {self._example(candidates)}.",
        )

    def _example(self, candidates: Sequence[Candidate]) -> str:
        """A command that works when it is pasted: with a whole key, and if there is one, a short one."""
        named = f"{self.place}#{min(candidates, key=lambda one: len(one.key) > _LONGEST_KEY).key}"
        return f"energydiag inspect run {shlex.quote(f'./{named}' if named.startswith('-') else named)}"


_LONGEST_KEY = 200


def _several(candidates: Sequence[Candidate]) -> str:
    more = f" and {len(candidates) - _LISTED} more" if len(candidates) > _LISTED else ""
    what = "run" if len(candidates) == 1 else "runs"
    return f"{len(candidates)} {what}: {', '.join(map(str, candidates[:_LISTED]))}{more}"


def _is_key(one: Candidate, named: str) -> bool:
    return one.key == named


def _is_name(one: Candidate, named: str) -> bool:
    return one.name == named


def _begins_key(one: Candidate, named: str) -> bool:
    return one.key.startswith(named)
