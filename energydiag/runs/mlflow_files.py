"""MLflow's file store: a folder a run, with one text file for each metric, of lines ``time value step``.

``train/loss`` stands in ``metrics/train/loss``, settings in ``params/``. MLflow itself is not needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from energydiag.errors import UnreadableFile
from energydiag.plain_file import read_plain
from energydiag.runs.log import FloatArray
from energydiag.runs.names import cut, listed
from energydiag.runs.source import Candidate, Source
from energydiag.runs.table import MOST_COLUMNS, Column, Format, Table, check_count

_META, _METRICS, _PARAMS = "meta.yaml", "metrics", "params"
_MOST_RUNS = 10_000
_LONGEST_TEXT = 65536
_DEEPEST = 16
_TOGETHER = 100_000


def _is_run(folder: Path) -> bool:
    return (folder / _META).is_file() and (folder / _METRICS).is_dir()


def _inside(folder: Path) -> Path | None:
    """The folder, where it is a run, an experiment or a store of experiments."""
    return folder if next(_runs(folder), None) is not None else None


def _runs(folder: Path) -> Iterator[Path]:
    if _is_run(folder):
        yield folder
        return
    for inner in _folders(folder):
        if _is_run(inner):
            yield inner
        elif (inner / _META).is_file():  # an experiment
            yield from (run for run in _folders(inner) if _is_run(run))


def _folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as found:
        return sorted(Path(entry.path) for entry in found if entry.is_dir())


def _read(path: Path, source: Source) -> Table:
    run = path if _is_run(path) else _chosen(path, source)
    notes: list[str] = []
    columns, rows, wrong, first = dict[str, Column](), [np.empty((0, 3))], list[str](), 0
    for name, file in _files(run / _METRICS, notes):
        points, bad = _series(source.content(file))
        columns[name] = Column(np.arange(first, first + len(points), dtype=np.int64), points[:, 1])
        rows.append(points)
        first += len(points)
        check_count(first)
        if bad:
            wrong.append(f"`{cut(name)}` ({bad})")
    if wrong:
        notes.append(f"Lines left out that are not `time value step`: {', '.join(wrong[:12])}.")
    every = np.concatenate(rows)
    config = dict(_texts(run / _PARAMS))
    return Table(columns, first, {}, tuple(notes), every[:, 2], every[:, 0] / 1000, config)


def _chosen(store: Path, source: Source) -> Path:
    runs: dict[str, Path] = {}
    for run in _runs(store):
        if len(runs) == _MOST_RUNS:
            raise ValueError(f"holds more than {_MOST_RUNS} runs; name the folder of one")
        runs[run.name] = run
    latest = sorted(runs, key=lambda key: -(runs[key] / _METRICS).stat().st_mtime)
    return runs[source.chosen([Candidate(key, _text(runs[key] / "tags" / "mlflow.runName")) for key in latest]).key]


def _files(folder: Path, notes: list[str]) -> Iterator[tuple[str, Path]]:
    """Names of metrics and their files; slashes in names are folders."""
    odd, count = [], 0
    for place, inner, files in os.walk(folder):
        inner.sort()
        where = Path(place).relative_to(folder)
        if len(where.parts) > _DEEPEST:
            raise ValueError("has folders in folders without an end")
        for name in sorted(files):
            file = Path(place) / name
            if not file.is_file():
                odd.append(name)
                continue
            count += 1
            if count > MOST_COLUMNS:
                raise ValueError(f"has more than {MOST_COLUMNS} columns")
            yield (where / name).as_posix(), file
    if odd:
        notes.append(f"Left out, no plain files: {listed(odd)}.")


def _series(content: bytes) -> tuple[FloatArray, int]:
    """Milliseconds, values and steps of a metric, [points, 3], and how many lines hold something else."""
    ends = np.flatnonzero(np.frombuffer(content, np.uint8) == ord("\n"))
    check_count(len(ends))
    parts, bad, first = [], 0, 0
    for last in range(_TOGETHER - 1, len(ends) + _TOGETHER - 1, _TOGETHER):
        end = int(ends[last]) + 1 if last < len(ends) else len(content)
        part, wrong = _numbers(content[first:end])
        parts.append(part)
        bad += wrong
        first = end
    if first < len(content):
        part, wrong = _numbers(content[first:])
        parts.append(part)
        bad += wrong
    return np.concatenate([np.empty((0, 3)), *parts]), bad


def _numbers(text: bytes) -> tuple[FloatArray, int]:
    """The same, of some lines."""
    flat = np.frombuffer(text, np.uint8)
    ends, gaps = np.flatnonzero(flat == ord("\n")), np.flatnonzero(flat == ord(" ")).reshape(-1)
    words = text.split()
    if len(gaps) == 2 * len(ends) and len(words) == 3 * len(ends):
        first, second = gaps[::2], gaps[1::2]
        if (second < ends).all() and (first[1:] > ends[:-1]).all():  # three words in each line
            try:
                return np.array(list(map(float, words))).reshape(-1, 3), 0
            except ValueError:
                pass
    points, bad = list[tuple[float, float, float]](), 0
    for line in text.splitlines():
        parts = line.split(b" ")
        try:
            # without a step, as MLflow once wrote it, it counts as 0; behind it the name of a data set may stand
            points.append((float(parts[0]), float(parts[1]), float(parts[2]) if len(parts) > 2 else 0.0))
        except (ValueError, IndexError):
            bad += 1
    return np.array(points).reshape(-1, 3), bad


def _texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Names of settings and what they are, the first ten thousand."""
    count = 0
    for place, inner, files in os.walk(folder):
        inner.sort()
        for name in sorted(files):
            count += 1
            if count > MOST_COLUMNS:
                return
            file = Path(place) / name
            yield file.relative_to(folder).as_posix(), _text(file)


def _text(file: Path) -> str:
    """What a small file says; nothing for one that is missing or too large."""
    try:
        return read_plain(file, _LONGEST_TEXT).decode("utf-8", "replace").strip()
    except UnreadableFile:
        return ""


FORMAT = Format("mlflow-files", lambda _path, _start: False, _inside, _read)
