"""JSONL: an object a line; quantities inside inner objects get the outer names before a slash."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from energydiag.runs.table import Format, Table, decoded, lines_of, plural, table_of

_MOST_CHARACTERS = 4 << 20
"""Of a line: what JSON describes in a few bytes takes a hundred in memory."""


def _recognises(start: bytes) -> bool:
    try:
        text = decoded(start[: start.rfind(b"\n") + 1] or start).lstrip()
    except ValueError:
        return False
    return text.startswith("{")


def _parse(content: bytes) -> Table:
    notes: list[str] = []
    table = table_of(_rows((line for line in lines_of(content) if line.strip()), notes), lambda: notes)
    if not table.rows:
        raise ValueError("holds no line that is a JSON object")
    return table


def _rows(lines: Iterable[str], notes: list[str]) -> Iterator[dict[str, Any]]:
    wrong = 0
    for line in lines:
        try:
            row = json.loads(line) if len(line) <= _MOST_CHARACTERS else None
            flat = dict(flattened(row, "/")) if isinstance(row, dict) else None
        except (ValueError, RecursionError):
            flat = None
        if flat is None:
            wrong += 1
        else:
            yield flat
    if wrong:
        notes.append(f"{plural(wrong, 'line')} left out, no JSON object.")


def flattened(row: dict[str, Any], separator: str, before: str = "") -> Iterator[tuple[str, Any]]:
    """Keys of inner objects after those of outer ones, and what stands there."""
    for key, value in row.items():
        if isinstance(value, dict):
            yield from flattened(value, separator, f"{before}{key}{separator}")
        else:
            yield f"{before}{key}", value


FORMAT = Format("jsonl", _recognises, _parse)
