"""CSV: a header and rows, with commas, semicolons or tabs; empty cells are quantities not logged at that step."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from energydiag.runs.names import listed
from energydiag.runs.source import Source
from energydiag.runs.table import MOST_COLUMNS, Columns, Format, Table, check_rows, decoded, lines_of, named, plural

_DELIMITERS = ",;\t"
_FIRST_LINES = 1000
"""Among which the header and the first row stand."""

_TOGETHER = 50_000
"""Cells that are turned into numbers at once, column by column, which is four times as fast."""


def _recognises(_path: Path, start: bytes) -> bool:
    try:
        text = decoded(start[: start.rfind(b"\n") + 1] or start).lstrip()
    except ValueError:
        return False
    return bool(text) and text[0] not in "{[<" and "\0" not in text


def _read(path: Path, source: Source) -> Table:
    content, notes = source.content(path), list[str]()
    reader = csv.reader(lines_of(content), delimiter=_delimiter(content))
    try:
        rows = _filled(reader)
        names = _names(next(rows, []), notes)
        return _columns(rows, names, notes).table(notes=tuple(notes))
    except csv.Error as error:
        raise ValueError(f"is no CSV: {error} in line {reader.line_num}") from error


def _filled(rows: Iterable[list[str]]) -> Iterator[list[str]]:
    """Those of some rows that are not empty; all are counted."""
    for number, row in enumerate(rows):
        check_rows(number)
        if any(cell.strip() for cell in row):
            yield row


def _delimiter(content: bytes) -> str:
    """The one that parts the header into as many cells as the first row, and into the most."""

    def fit(delimiter: str) -> tuple[bool, int]:
        found: list[int] = []
        try:
            for row in csv.reader(islice(lines_of(content), _FIRST_LINES), delimiter=delimiter):
                if row and (found or any(cell.strip() for cell in row)):
                    found.append(len(row))
                if len(found) == 2:
                    break
        except csv.Error:
            return False, 0
        return len(set(found)) == 1 and len(found) == 2, found[0] if found else 0

    return max(_DELIMITERS, key=fit)


def _names(header: list[str], notes: list[str]) -> list[str]:
    """Names of the columns; empty for those that are left out."""
    names = [cell.strip() for cell in header]
    if not any(names):
        raise ValueError("is empty")
    if len(names) > MOST_COLUMNS:
        raise ValueError(f"has more than {MOST_COLUMNS} columns")
    if all(_is_number(name) for name in names if name):
        raise ValueError("has numbers in its first row, where the names of the columns should stand")
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        notes.append(f"Columns that stand twice, of which the first was taken: {listed(twice)}.")
    seen: set[str] = set()
    kept = []
    for name in names:
        kept.append("" if name in seen else name)
        seen.add(name)
    if "" in names:
        notes.append(f"{plural(names.count(''), 'column')} without a name left out.")
    return kept


def _columns(rows: Iterable[list[str]], names: list[str], notes: list[str]) -> Columns:
    columns, waiting, wrong = Columns(), list[list[str]](), 0
    together = max(1, _TOGETHER // len(names))
    for row in rows:
        if len(row) != len(names):
            wrong += 1
            continue
        waiting.append(row)
        if len(waiting) == together:
            columns.add_texts(names, waiting)
            waiting = []
    columns.add_texts(names, waiting)
    if wrong:
        notes.append(f"{plural(wrong, 'row')} left out, with more or fewer cells than the header.")
    return columns


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


FORMAT = Format("csv", _recognises, named("metrics.csv"), _read)
