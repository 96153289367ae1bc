"""MLflow's database: the table ``metrics`` of ``mlflow.db``, a row a number. MLflow itself is not needed."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np

from energydiag.runs.log import FloatArray
from energydiag.runs.source import Candidate, Source
from energydiag.runs.sqlite_file import Database, is_database, opened
from energydiag.runs.table import MOST_COLUMNS, Column, Format, Table, check_count, named, plural

_COLUMNS = ("key", "value", "timestamp", "run_uuid", "step", "is_nan")
_TOGETHER = 50_000
_INFINITE = 1.7976931348623157e308
"""What MLflow writes for infinity, which its databases do not know: the largest number there is."""


def _recognises(path: Path, start: bytes) -> bool:
    return is_database(path, start, "metrics", _COLUMNS)


def _read(path: Path, source: Source) -> Table:
    with opened(path, source) as database:
        if not database.has("metrics", _COLUMNS):
            raise ValueError("has lost its table of metrics")
        run = source.chosen(_runs(database)).key
        columns, rows, first, bad = dict[str, Column](), [np.empty((0, 4))], 0, 0
        for (key,) in database.rows("SELECT DISTINCT key FROM metrics WHERE run_uuid = ?", (run,)):
            if len(columns) == MOST_COLUMNS:
                raise ValueError(f"has more than {MOST_COLUMNS} columns")
            points, wrong = _points(database, run, key)
            columns[str(key)] = Column(np.arange(first, first + len(points), dtype=np.int64), points[:, 0])
            rows.append(points)
            first += len(points)
            check_count(first)
            bad += wrong
        notes = [f"{plural(bad, 'row')} left out, no number."] if bad else []
        every, params = np.concatenate(rows), _params(database, run)
        return Table(columns, first, {}, (*notes, *database.notes), every[:, 2], every[:, 3] / 1000, params)


def _runs(database: Database) -> list[Candidate]:
    names = {}
    if database.has("runs", ("run_uuid", "name")):
        names = {str(key): str(name or "") for key, name in database.rows("SELECT run_uuid, name FROM runs")}
    # one row a metric, where a newer MLflow keeps them: going through all points would take as long as reading them
    table = "latest_metrics" if database.has("latest_metrics", ("run_uuid", "timestamp")) else "metrics"
    latest = f"SELECT run_uuid FROM {table} GROUP BY run_uuid ORDER BY max(timestamp) DESC"
    return [Candidate(str(key), names.get(str(key), "")) for (key,) in database.rows(latest)]


def _points(database: Database, run: str, key: str) -> tuple[FloatArray, int]:
    """Values, whether they are NaN, steps and milliseconds of a metric, [points, 4]; how many rows hold no number."""
    query = "SELECT value, is_nan, step, timestamp FROM metrics WHERE run_uuid = ? AND key = ? ORDER BY timestamp, step"
    parts, bad, count = [np.empty((0, 4))], 0, 0
    rows = database.rows(query, (run, key))
    while some := list(islice(rows, _TOGETHER)):
        count += len(some)
        check_count(count)
        try:
            found = np.array(some, dtype=np.float64)
        except (ValueError, TypeError, OverflowError):
            numbers = [row for row in some if all(isinstance(cell, int | float) for cell in row)]
            bad += len(some) - len(numbers)
            found = np.array(numbers, dtype=np.float64).reshape(-1, 4)
        value = found[:, 0]
        value[value >= _INFINITE], value[value <= -_INFINITE] = np.inf, -np.inf
        value[found[:, 1] != 0] = np.nan
        parts.append(found)
    return np.concatenate(parts), bad


def _params(database: Database, run: str) -> dict[str, str]:
    if not database.has("params", ("key", "value", "run_uuid")):
        return {}
    query = f"SELECT key, value FROM params WHERE run_uuid = ? LIMIT {MOST_COLUMNS}"
    return {str(key): str(value) for key, value in database.rows(query, (run,))}


FORMAT = Format("mlflow-sqlite", _recognises, named("mlflow.db"), _read)
