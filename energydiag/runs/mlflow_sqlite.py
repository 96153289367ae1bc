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
_KEY = 4
_INFINITE = 1.7976931348623157e308
"""What MLflow writes for infinity, which its databases do not know: the largest number there is."""


def _recognises(path: Path, start: bytes) -> bool:
    return is_database(path, start, "metrics", _COLUMNS)


def _read(path: Path, source: Source) -> Table:
    with opened(path, source) as database:
        if not database.has("metrics", _COLUMNS):
            raise ValueError("has lost its table of metrics")
        run = source.chosen(_runs(database)).key
        points, keys, bad = _points(database, run)
        notes = [f"{plural(bad, 'row')} left out, no number."] if bad else []
        ends = np.searchsorted(points[:, _KEY], np.arange(len(keys) + 1))
        columns = {
            key: Column(np.arange(first, end, dtype=np.int64), points[first:end, 0])
            for key, first, end in zip(keys, ends[:-1].tolist(), ends[1:].tolist(), strict=True)
        }
        params = _params(database, run)
        return Table(columns, len(points), {}, (*notes, *database.notes), points[:, 2], points[:, 3] / 1000, params)


def _runs(database: Database) -> list[Candidate]:
    names = {}
    if database.has("runs", ("run_uuid", "name")):
        names = {str(key): str(name or "") for key, name in database.rows("SELECT run_uuid, name FROM runs")}
    # one row a metric, where a newer MLflow keeps them: going through all points would take as long as reading them
    table = "latest_metrics" if database.has("latest_metrics", ("run_uuid", "timestamp")) else "metrics"
    latest = f"SELECT run_uuid FROM {table} GROUP BY run_uuid ORDER BY max(timestamp) DESC"
    return [Candidate(str(key), names.get(str(key), "")) for (key,) in database.rows(latest)]


def _points(database: Database, run: str) -> tuple[FloatArray, list[str], int]:
    """Values, whether they are NaN, steps, milliseconds and numbers of keys, [points, 5]; the keys; rows of no number.

    All of them at once, since there need not be an index: a query for each key would go through all rows each time.
    """
    query = "SELECT value, is_nan, step, timestamp, key FROM metrics WHERE run_uuid = ?"
    numbers: dict[str, int] = {}
    parts, bad, count = [np.empty((0, 5))], 0, 0
    rows = database.rows(query, (run,))
    while some := list(islice(rows, _TOGETHER)):
        count += len(some)
        check_count(count)
        told = [row for row in some if all(isinstance(cell, int | float) for cell in row[:4])]
        bad += len(some) - len(told)
        keyed = [(*row[:4], numbers.setdefault(str(row[4]), len(numbers))) for row in told]
        if len(numbers) > MOST_COLUMNS:
            raise ValueError(f"has more than {MOST_COLUMNS} columns")
        found = np.array(keyed, dtype=np.float64).reshape(-1, 5)
        value = found[:, 0]
        value[value >= _INFINITE], value[value <= -_INFINITE] = np.inf, -np.inf
        value[found[:, 1] != 0] = np.nan
        parts.append(found)
    every = np.concatenate(parts)
    order = np.lexsort((every[:, 2], every[:, 3], every[:, _KEY]))
    return every[order], list(numbers), bad


def _params(database: Database, run: str) -> dict[str, str]:
    if not database.has("params", ("key", "value", "run_uuid")):
        return {}
    query = f"SELECT key, value FROM params WHERE run_uuid = ? LIMIT {MOST_COLUMNS}"
    return {str(key): str(value) for key, value in database.rows(query, (run,))}


FORMAT = Format("mlflow-sqlite", _recognises, named("mlflow.db"), _read)
