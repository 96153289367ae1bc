"""JSONL: an object a line; quantities inside inner objects get the outer names before a slash."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from energydiag.runs.table import Format, Table, decoded, plural, table_of


def _recognises(start: bytes) -> bool:
    try:
        text = decoded(start[: start.rfind(b"\n") + 1] or start).lstrip()
    except ValueError:
        return False
    return text.startswith("{")


def _parse(content: bytes) -> Table:
    lines = [line for line in decoded(content).split("\n") if line.strip()]
    notes: list[str] = []
    table = table_of(_rows(lines, notes), lambda: notes)
    if not table.rows:
        raise ValueError("holds no line that is a JSON object")
    return table


def _rows(lines: list[str], notes: list[str]) -> Iterator[dict[str, Any]]:
    wrong = 0
    for line in lines:
        try:
            row = json.loads(line)
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
