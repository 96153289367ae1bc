"""Rows of a log, before anybody knows what its columns mean."""

from __future__ import annotations

import codecs
import io
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from energydiag.runs.log import FloatArray

_MISSING = frozenset({"", "none", "null", "na", "n/a", "-"})
_WORDS = {"true": 1.0, "false": 0.0}

MOST_COLUMNS = 10_000
"""Of a log; trainers that log every layer have some thousand."""


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
    """

    columns: Mapping[str, Column]
    rows: int
    wordy: Mapping[str, int]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Format:
    """A format of training logs.

    Attributes:
        name: What the result calls it.
        recognises: Whether a file that begins like this is one.
        parse: From the whole content to a table; a ValueError says, in a sentence's end, why it is none.
    """

    name: str
    recognises: Callable[[bytes], bool]
    parse: Callable[[bytes], Table]


def table_of(rows: Iterable[Mapping[str, Any]], notes: Callable[[], Iterable[str]] = tuple) -> Table:
    """A table from rows of cells.

    Args:
        rows: Cells by the name of their column; a column may be missing from a row.
        notes: Asked once all rows were taken.
    """
    found: dict[str, tuple[array[int], array[float]]] = {}
    wordy: Counter[str] = Counter()
    count = 0
    for row in rows:
        for name, cell in row.items():
            if name not in found:
                if len(found) == MOST_COLUMNS:
                    raise ValueError(f"has more than {MOST_COLUMNS} columns")
                found[name] = (array("q"), array("d"))
            where, values = found[name]
            try:
                number = _number(cell)
            except (ValueError, OverflowError):
                wordy[name] += 1
                continue
            if number is not None:
                where.append(count)
                values.append(number)
        count += 1
    columns = {
        name: Column(np.array(where, dtype=np.int64), np.array(values, dtype=np.float64))
        for name, (where, values) in found.items()
    }
    return Table(columns, count, dict(wordy), tuple(notes()))


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
