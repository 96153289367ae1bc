"""Trackio's database: the table ``metrics``, a row a step with its numbers as JSON. Trackio itself is not needed."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from energydiag.runs.json_lines import MOST_CHARACTERS, flattened
from energydiag.runs.source import Candidate, Source
from energydiag.runs.sqlite_file import START, Database, is_database, opened
from energydiag.runs.table import Columns, Format, Table, plural

_COLUMNS = ("timestamp", "run_name", "step", "metrics")


def _recognises(path: Path, start: bytes) -> bool:
    return is_database(path, start, "metrics", _COLUMNS)


def _inside(folder: Path) -> Path | None:
    """The only database of the folder, a file for each project."""
    found = [path for path in sorted(folder.glob("*.db")) if path.is_file() and _recognises(path, _start(path))]
    return found[0] if len(found) == 1 else None


def _start(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(len(START))


def _read(path: Path, source: Source) -> Table:
    with opened(path, source) as database:
        known = database.columns("metrics")
        if not known >= set(_COLUMNS):
            raise ValueError("has lost its table of metrics")
        by = "run_id" if "run_id" in known else "run_name"  # before trackio 0.20, names were all there was
        run = source.chosen(_runs(database, by)).key
        columns, steps, times, bad = Columns(), array("d"), array("d"), 0
        query = f"SELECT step, timestamp, metrics FROM metrics WHERE {by} = ? ORDER BY {_order(known)}"
        for step, time, text in database.rows(query, (run,)):
            cells = _cells(text)
            if cells is None or not isinstance(step, int | float):
                bad += 1
                continue
            columns.add(_numbers(cells))
            steps.append(step)
            times.append(_seconds(time))
        notes = [f"{plural(bad, 'row')} left out, no JSON object or without a step."] if bad else []
        return columns.table(
            notes=(*notes, *database.notes),
            step=np.array(steps, dtype=np.float64),
            time=np.array(times, dtype=np.float64),
            config=_config(database, by, run),
        )


def _order(known: frozenset[str]) -> str:
    return "id" if "id" in known else "step"


def _runs(database: Database, by: str) -> list[Candidate]:
    query = f"SELECT {by}, max(run_name) FROM metrics GROUP BY {by} ORDER BY max(timestamp) DESC"
    return [Candidate(str(key), str(name or "")) for key, name in database.rows(query)]


def _cells(text: Any) -> dict[str, Any] | None:
    try:
        found = json.loads(text) if isinstance(text, str | bytes) and len(text) <= MOST_CHARACTERS else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _numbers(cells: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Tables, histograms and pictures say what they are under ``_type``; none is a number."""
    for name, cell in cells.items():
        if not isinstance(cell, dict):
            yield name, cell
        elif "_type" in cell:
            yield name, "no number"
        else:
            yield from flattened(cell, "/", f"{name}/")


def _seconds(text: Any) -> float:
    try:
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=timezone.utc)).timestamp()
    except (TypeError, ValueError, OverflowError):
        return float("nan")


def _config(database: Database, by: str, run: str) -> dict[str, str]:
    if not database.has("configs", (by, "config")):
        return {}
    found = next(database.rows(f"SELECT config FROM configs WHERE {by} = ?", (run,)), (None,))
    try:
        flat = dict(flattened(_cells(found[0]) or {}, "."))
    except RecursionError:
        return {}
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in flat.items()}


FORMAT = Format("trackio", _recognises, _inside, _read)
