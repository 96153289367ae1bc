"""JSONL: an object a line; quantities inside inner objects get the outer names before a slash."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from energydiag.runs.source import Source
from energydiag.runs.table import MOST_COLUMNS, Columns, Format, Table, check_rows, decoded, lines_of, named, plural

MOST_CHARACTERS = 4 << 20
"""Of a line: what JSON describes in a few bytes takes a hundred in memory."""

_LONGEST_WAY = 1000
"""Characters of the outer names before an inner one (heuristic), since each inner name repeats them."""


def _recognises(_path: Path, start: bytes) -> bool:
    try:
        text = decoded(start[: start.rfind(b"\n") + 1] or start).lstrip()
    except ValueError:
        return False
    return text.startswith("{") and not is_trainer_state(start)


def is_trainer_state(start: bytes) -> bool:
    """Whether a file that begins like this is one object with the Hugging Face Trainer's history in it."""
    return b'"log_history"' in start


def _read(path: Path, source: Source) -> Table:
    columns, wrong = Columns(), 0
    for line in lines_of(source.content(path)):
        if not line.strip():
            continue
        try:
            row = json.loads(line) if len(line) <= MOST_CHARACTERS else None
            cells = None if not isinstance(row, dict) else list(islice(flattened(row, "/"), MOST_COLUMNS + 1))
        except (ValueError, RecursionError):
            cells = None
        if cells is None:
            wrong += 1
            check_rows(wrong)
        else:
            columns.add(cells)
    if not columns.rows:
        raise ValueError("holds no line that is a JSON object")
    return columns.table(notes=(f"{plural(wrong, 'line')} left out, no JSON object.",) if wrong else ())


def flattened(row: dict[str, Any], separator: str, before: str = "") -> Iterator[tuple[str, Any]]:
    """Keys of inner objects after those of outer ones, and what stands there.

    Raises:
        ValueError: The keys of outer objects are too long.
    """
    if len(before) > _LONGEST_WAY:
        raise ValueError(f"it has names of more than {_LONGEST_WAY} characters")
    for key, value in row.items():
        if isinstance(value, dict):
            yield from flattened(value, separator, f"{before}{key}{separator}")
        else:
            yield f"{before}{key}", value


def as_settings(row: dict[str, Any]) -> dict[str, str]:
    """An object as settings: text by names with dots between, the first ten thousand.

    Raises:
        ValueError: As `flattened`.
    """
    found = islice(flattened(row, "."), MOST_COLUMNS)
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in found}


FORMAT = Format("jsonl", _recognises, named("metrics.jsonl"), _read)
