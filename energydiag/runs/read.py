"""From a file, or a folder that holds one, to a `RunLog`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from energydiag.discovery import discover
from energydiag.errors import UnreadableFile, UsageError, first_line
from energydiag.plain_file import read_plain
from energydiag.runs.json_lines import flattened
from energydiag.runs.log import RunLog, Series
from energydiag.runs.names import cut, listed, matched
from energydiag.runs.table import Column, Format, Table, plural

METRICS = ("metrics.csv", "metrics.jsonl")
"""What the log is called in a folder; where none is, the only file with such an ending is taken."""

CONFIG = "config.json"
_START = 65536

_MOST_BYTES = 64 << 20
"""Of a log, 64 MiB: a million steps of a few quantities. Numbers take up to eight times as much memory."""

_MOST_CONFIG = 4 << 20
"""Bytes of the settings, 4 MiB."""


def read_run(path: str | Path, names: Mapping[str, str] | None = None) -> RunLog:
    """The log of a training run.

    Args:
        path: A CSV or JSONL file (the content decides, not the name), or a folder with ``metrics.csv``. Settings are
            taken from ``config.json`` beside it.
        names: Our names to those of columns, where they are not found by themselves.

    Raises:
        UnreadableFile: Missing, of no known format, or without a loss.
        UsageError: ``names`` does not fit.
    """
    file = _file(Path(path))
    content = read_plain(file, _MOST_BYTES, "log fewer quantities, or every tenth step.")
    format_, table = _table(file, content)
    present = [name for name, column in table.columns.items() if len(column.row)]
    if not present:
        raise UnreadableFile(
            f"{file} holds no numbers: {plural(table.rows, 'row')}, columns {listed(table.columns) or 'none'}.",
            "name the file that the training loop writes its losses to.",
        )
    found, notes = matched(present, names or {})
    if "loss" not in found and "info_nce" not in found:
        raise UsageError(
            f"No column of {file} is known as the loss; it has {listed(present)}.",
            "say which one it is: --map loss=NAME.",
        )
    series, joined = _joined(table, found, names or {})
    if "loss" not in series and "info_nce" not in series:
        raise UsageError(
            f"No row of {file} has both a loss and a step, for which `{found['step']}` was taken.",
            "say which column counts the steps: --map step=NAME.",
        )
    config, told = _config(file.parent / CONFIG)
    renamed = {ours: theirs for ours, theirs in found.items() if ours != theirs and ours in ("step", *series)}
    pairs = ", ".join(f"{ours} = `{theirs}`" for ours, theirs in renamed.items())
    unused = [name for name in table.columns if name not in found.values()]
    return RunLog(
        series,
        {ours: found[ours] for ours in series},
        config,
        str(file),
        format_,
        hashlib.sha256(content).hexdigest(),
        table.rows,
        (
            *([f"Names in the log: {pairs}."] if renamed else []),
            *notes,
            *([f"Columns that nothing here uses: {listed(unused)} (--map OURS=NAME takes one)."] if unused else []),
            *_wordy(table, found),
            *table.notes,
            *joined,
            *told,
        ),
    )


def _file(path: Path) -> Path:
    try:
        if not path.exists():
            raise UnreadableFile(f"No training log at {path}.", "check the path (`ls` the folder it should be in).")
        if not path.is_dir():
            return path
        known = [path / name for name in METRICS if (path / name).is_file()]
        others = [p for p in sorted(path.iterdir()) if p.suffix in (".csv", ".jsonl") and p.is_file()]
    except (OSError, ValueError) as error:
        raise UnreadableFile(f"{path} cannot be read: {first_line(error)}.", "check the path.") from error
    if known:
        return known[0]
    if len(others) == 1:
        return others[0]
    choice = f"{len(others)} logs: {', '.join(cut(p.name) for p in others[:8])}" if others else "no CSV or JSONL file"
    raise UnreadableFile(f"{path} holds no {METRICS[0]}, and {choice}.", "name the file itself.")


def _table(file: Path, content: bytes) -> tuple[str, Table]:
    formats = discover("energydiag.runs", "FORMAT", Format)
    if not content.strip():
        raise UnreadableFile(f"{file} is empty.", "name the file that the training loop writes its losses to.")
    for known in formats.values():
        if known.recognises(content[:_START]):
            try:
                return known.name, known.parse(content)
            except ValueError as error:
                raise UnreadableFile(
                    f"{file} {first_line(error)}.", "write the log as CSV with a header, or a JSON object a line."
                ) from error
    raise UnreadableFile(
        f"{file} is in no known format of training logs ({', '.join(formats)}).",
        "export it as CSV with a header, or as a JSON object a line.",
    )


def _wordy(table: Table, found: Mapping[str, str]) -> list[str]:
    return [
        f"`{name}`: {plural(count, 'cell')} left out, no number."
        for name, count in table.wordy.items()
        if name in found.values()
    ]


def _joined(table: Table, found: Mapping[str, str], given: Mapping[str, str]) -> tuple[dict[str, Series], list[str]]:
    """Every series over its own steps: rows of the same step belong together, and the later value counts."""
    notes = []
    column = table.columns[found["step"]] if "step" in found else Column(np.empty(0, np.int64), np.empty(0))
    epochs = "step" in found and "step" not in given and "epoch" in found["step"].lower()
    if "step" not in found or (epochs and len(np.unique(column.value)) < len(column.value)):
        step = np.arange(table.rows, dtype=np.float64)
        notes.append("The log has no steps; rows are counted instead (--map step=NAME).")
    else:
        step = np.full(table.rows, np.nan)
        step[column.row] = column.value
    series, again = {}, 0
    stray: set[int] = set()
    for ours, theirs in found.items():
        if ours == "step":
            continue
        column = table.columns[theirs]
        at = step[column.row]
        placed = np.isfinite(at)
        stray.update(column.row[~placed].tolist())
        made, twice = _over_steps(at[placed], Column(column.row[placed], column.value[placed]))
        again = max(again, twice)
        if made:
            series[ours] = made
    if stray:
        notes.append(f"{plural(len(stray), 'row')} left out, without a step.")
    if again:
        notes.append(f"{plural(again, 'step')} logged more than once; the later value was taken.")
    return series, notes


def _over_steps(step: np.ndarray, column: Column) -> tuple[Series, int]:
    order = np.argsort(step, kind="stable")
    ordered, values = step[order], column.value[order]
    last = np.append(ordered[1:] != ordered[:-1], True)[: len(ordered)]
    return Series(ordered[last], values[last]), int((~last).sum())


def _config(path: Path) -> tuple[dict[str, str], list[str]]:
    """Settings as text, and what went wrong with them."""
    if not path.is_file():
        return {}, []
    try:
        plain = json.loads(read_plain(path, _MOST_CONFIG))
        if not isinstance(plain, dict):
            raise ValueError("no JSON object")
        flat = dict(flattened(plain, "."))
    except (UnreadableFile, ValueError, RecursionError) as error:
        return {}, [f"{path.name} was not read: {cut(first_line(error))}."]
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in flat.items()}, []
