"""Rows of a log, before anybody knows what its columns mean."""

from __future__ import annotations

import codecs
import io
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from energydiag.runs.log import FloatArray
from energydiag.runs.source import Source

_MISSING = frozenset({"", "none", "null", "na", "n/a", "-"})
_WORDS = {"true": 1.0, "false": 0.0}

MOST_COLUMNS = 10_000
"""Of a log; trainers that log every layer have some thousand."""

MOST_NUMBERS = 10_000_000
"""Of a log, ten times a run of 50,000 steps and twenty quantities; they take up to 32 bytes each."""

MOST_ROWS = 2_000_000
"""Of a log, empty ones too (heuristic: forty runs of 50,000 steps)."""

_MOST_WORDS = 2_000_000
"""Cells that are no numbers (heuristic): each takes as long as ten that are."""

_LONGEST_NAME = 1000
"""Characters of a column's name (heuristic); of ten thousand such names a report could show none."""


@dataclass(frozen=True)
class Column:
    """The numbers of a column: row numbers, increasing, and as many values."""

    row: NDArray[np.int64]
    value: FloatArray


@dataclass(frozen=True)
class Table:
    """Sparse columns of numbers.

    Attributes:
        columns: By their names in the file, in its order; those without a number have none.
        rows: How many rows were read.
        wordy: Cells that hold something else than a number, counted by column.
        notes: Rows and columns that could not be read, and why.
        step: Step of every row, where the format itself says it; NaN where a row has none.
        time: Wall clock of every row, in seconds since 1970, where the format itself says it.
        config: Settings of the run as text, where the format keeps them.
    """

    columns: Mapping[str, Column]
    rows: int
    wordy: Mapping[str, int]
    notes: tuple[str, ...] = ()
    step: FloatArray | None = None
    time: FloatArray | None = None
    config: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        longest = max(map(len, self.columns), default=0)
        if longest > _LONGEST_NAME:
            raise ValueError(f"has a column whose name has {longest} characters, more than {_LONGEST_NAME}")


@dataclass(frozen=True)
class Format:
    """A format of training logs.

    Attributes:
        name: What the result calls it.
        recognises: Whether a plain file, which begins like this (64 KiB at most), is one.
        inside: What a folder holds of it: the file, or the folder itself where that is the log; None for nothing.
        read: From the file or folder to a table; a ValueError says, in a sentence's end, why it is none.
    """

    name: str
    recognises: Callable[[Path, bytes], bool]
    inside: Callable[[Path], Path | None]
    read: Callable[[Path, Source], Table]


def named(*names: str) -> Callable[[Path], Path | None]:
    """Finds the first of these files in a folder."""

    def inside(folder: Path) -> Path | None:
        return next((folder / name for name in names if (folder / name).is_file()), None)

    return inside


class Columns:
    """Columns that grow while a log is read."""

    def __init__(self) -> None:
        self.rows = 0
        self._found: dict[str, tuple[array[int], array[float]]] = {}
        self._wordy: Counter[str] = Counter()
        self._numbers = self._words = 0

    def add(self, cells: Iterable[tuple[str, Any]]) -> None:
        """One more row, from names and cells."""
        row, known, count = self.rows, self._found, 0
        for name, cell in cells:
            found = known.get(name) or self._column(name)
            if type(cell) is not float:  # most are, so that the others may take longer
                try:
                    cell = _number(cell)
                except (ValueError, OverflowError):
                    self._wordy[name] += 1
                    self._words += 1
                    continue
                if cell is None:
                    continue
            found[0].append(row)
            found[1].append(cell)
            count += 1
        self.rows += 1
        self._count(count)

    def add_texts(self, names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """More rows of text, each with as many cells as there are names; what has an empty name is left out."""
        for name, texts in zip(names, zip(*rows, strict=True)):  # noqa: B905 - no row at all has no cells either
            if name:
                self._extend(name, texts)
        self.rows += len(rows)

    def table(self, **more: Any) -> Table:
        """What was read; arguments are further fields of `Table`."""
        columns = {
            name: Column(np.array(where, dtype=np.int64), np.array(values, dtype=np.float64))
            for name, (where, values) in self._found.items()
        }
        return Table(columns, self.rows, dict(self._wordy), **more)

    def _extend(self, name: str, texts: Sequence[str]) -> None:
        where, values = self._found.get(name) or self._column(name)
        places: Sequence[int] = range(self.rows, self.rows + len(texts))
        if "" in texts:
            places = [place for place, text in zip(places, texts, strict=True) if text]
            texts = [text for text in texts if text]
        try:
            numbers = list(map(float, texts))
        except ValueError:  # a word
            places, numbers = self._numbers_among(name, places, texts)
        where.extend(places)
        values.extend(numbers)
        self._count(len(numbers))

    def _numbers_among(self, name: str, places: Sequence[int], texts: Sequence[str]) -> tuple[list[int], list[float]]:
        kept, numbers = list[int](), list[float]()
        for place, text in zip(places, texts, strict=True):
            try:
                number = _number(text)
            except ValueError:
                self._wordy[name] += 1
                continue
            if number is not None:
                kept.append(place)
                numbers.append(number)
        self._words += len(texts) - len(numbers)
        return kept, numbers

    def _column(self, name: str) -> tuple[array[int], array[float]]:
        if len(self._found) == MOST_COLUMNS:
            raise ValueError(f"has more than {MOST_COLUMNS} columns")
        return self._found.setdefault(name, (array("q"), array("d")))

    def _count(self, more: int) -> None:
        self._numbers += more
        check_count(self._numbers)
        check_rows(self.rows)
        if self._words > _MOST_WORDS:
            raise ValueError(f"has more than {_MOST_WORDS:,} cells that are no numbers")


def check_count(numbers: int) -> None:
    """Raises a ValueError where a log has more numbers than are read."""
    if numbers > MOST_NUMBERS:
        raise ValueError(f"has more than {MOST_NUMBERS:,} numbers")


def check_rows(rows: int) -> None:
    """Raises a ValueError where a log has more rows than are read."""
    if rows > MOST_ROWS:
        raise ValueError(f"has more than {MOST_ROWS:,} rows")


def _number(cell: Any) -> float | None:
    """The number in a cell, None for an empty one; a ValueError where something else stands there."""
    if cell is None:
        return None
    if isinstance(cell, bool | int | float):
        return float(cell)
    if not isinstance(cell, str):
        raise ValueError("no number")
    text = cell.strip()
    if text.lower() in _MISSING:
        return None
    return _WORDS[text.lower()] if text.lower() in _WORDS else float(text)


def decoded(content: bytes) -> str:
    """Text in UTF-8, or in UTF-16 with its mark.

    Raises:
        ValueError: It is neither.
    """
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not text: {error.reason} at byte {error.start}") from error


def lines_of(content: bytes) -> Iterator[str]:
    """The text line by line with their ends, so that it never lies in memory as a whole.

    Raises:
        ValueError: As `decoded`.
    """
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        yield from io.TextIOWrapper(io.BytesIO(content), encoding="utf-16" if wide else "utf-8-sig", newline="")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not text: {error.reason}") from error


def plural(count: int, what: str) -> str:
    """``1 row``, ``2 rows``."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
