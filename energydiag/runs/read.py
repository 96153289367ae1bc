"""From a file, or a folder that holds one, to a `RunLog`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from energydiag.discovery import discover
from energydiag.errors import UnreadableFile, UsageError, first_line
from energydiag.plain_file import open_plain, read_plain
from energydiag.runs.json_lines import as_settings
from energydiag.runs.log import Axis, FloatArray, RunLog, Series
from energydiag.runs.names import JUDGED, LOSSES, cut, listed, matched
from energydiag.runs.source import Source
from energydiag.runs.table import Format, Table, plural

_SETTINGS = ("config.json", "hparams.yaml")
_LINE = re.compile(r"^([A-Za-z_][\w./-]*): ([^\s'\"\[{&*!|>#].*)$", re.MULTILINE)
"""Plain words and numbers of YAML, such as Lightning writes; what is nested is left out."""

_START = 65536
_MILLISECONDS = 1e11
"""As seconds since 1970, this is the year 5138; a clock that shows more counts milliseconds."""

_LARGEST = 1e150
"""Numbers from here on count as infinite: their squares are, and no trained model has any."""

_LARGEST_STEP = 1 << 53
"""Steps from here on are none: a file's numbers do not tell one from the next."""

_MOST_BYTES = 4 << 30
"""Of any file; formats allow less where they keep more of it in memory."""

_MOST_SETTINGS = 4 << 20
"""Bytes of the settings, 4 MiB."""


def read_run(path: str | Path, names: Mapping[str, str] | None = None) -> RunLog:
    """The log of a training run.

    Args:
        path: A file of any format in this package (its content decides, not its name), or a folder with one; where
            there are several runs, ``#`` and the id or name of one behind it. Settings are also taken from
            ``config.json`` or ``hparams.yaml`` beside it.
        names: Our names to those of columns, where they are not found by themselves.

    Raises:
        UnreadableFile: Missing, of no known format, or without a loss.
        UsageError: ``names`` does not fit, or there are several runs.
    """
    source = _source(path)
    format_, place, others = _found(source.place)
    table = _table(format_, place, source)
    present = [name for name, column in table.columns.items() if len(column.row)]
    if not present:
        raise UnreadableFile(
            f"{place} holds no numbers: {plural(table.rows, 'row')}, columns {listed(table.columns) or 'none'}.",
            "name the file that the training loop writes its losses to.",
        )
    given = names or {}
    found, notes = matched(present, given)
    for ours, known in (("step", table.step), ("seconds", table.time)):
        if known is not None and ours not in given:
            found.pop(ours, None)
    if not JUDGED & found.keys():
        raise UsageError(
            f"No column of {place} is known as the loss; it has {listed(present)}.",
            "say which one it is: --map loss=NAME.",
        )
    joined = _joined(table, found, given)
    series = joined.series
    if not JUDGED & series.keys():
        raise UsageError(
            f"No row of {place} has both a loss and a step, for which `{found.get('step', 'the log')}` was taken.",
            "say which column counts the steps: --map step=NAME.",
        )
    config, told = _config(place if place.is_dir() else place.parent)
    renamed = {ours: theirs for ours, theirs in found.items() if ours != theirs and ours in ("step", *series)}
    pairs = ", ".join(f"{ours} = `{theirs}`" for ours, theirs in renamed.items())
    unused = [name for name in table.columns if name not in found.values()]
    return RunLog(
        series,
        {ours: found[ours] for ours in series if ours in found},
        {**table.config, **config},
        str(place),
        format_.name,
        source.sha256(),
        table.rows,
        joined.axis,
        tuple(unused),
        joined.left_out,
        (
            *([f"Names in the log: {pairs}."] if renamed else []),
            *notes,
            *([f"Columns that nothing here uses: {listed(unused)} (--map OURS=NAME takes one)."] if unused else []),
            *_wordy(table, found),
            *table.notes,
            *joined.notes,
            *told,
            *others,
        ),
    )


def _source(path: str | Path) -> Source:
    """The place, and the run behind the last ``#`` unless that belongs to the name of a file."""
    text = str(path)
    before, mark, run = text.rpartition("#")
    try:
        if mark and before and not Path(text).exists():
            return Source(Path(before), run)
    except (OSError, ValueError):
        pass
    return Source(Path(text))


def _found(path: Path) -> tuple[Format, Path, list[str]]:
    """The format, the file or folder that is in it, and a note on what else the folder holds."""
    formats = discover("energydiag.runs", "FORMAT", Format)
    try:
        if not path.exists():
            raise UnreadableFile(f"No training log at {path}.", "check the path (`ls` the folder it should be in).")
        if not path.is_dir():
            return _of_file(path, formats), path, []
        inside = [(known, place) for known in formats.values() if (place := known.inside(path)) is not None]
        if inside:
            others = ", ".join(f"{cut(place.name)} ({known.name})" for known, place in inside[1:])
            told = [f"The folder also holds {others}, not read; name the file to read it instead."] if others else []
            return *inside[0], told
        loose = [p for p in sorted(path.iterdir()) if p.suffix in (".csv", ".jsonl", ".db") and p.is_file()]
    except (OSError, ValueError) as error:
        raise UnreadableFile(f"{path} cannot be read: {first_line(error)}.", "check the path.") from error
    if len(loose) == 1:
        return _of_file(loose[0], formats), loose[0], []
    choice = f"{len(loose)} logs: {', '.join(cut(p.name) for p in loose[:8])}" if loose else "no CSV or JSONL file"
    raise UnreadableFile(
        f"{path} holds no metrics.csv or log of another known kind ({', '.join(formats)}), and {choice}.",
        "name the file itself.",
    )


def _of_file(file: Path, formats: Mapping[str, Format]) -> Format:
    with open_plain(file, _MOST_BYTES) as stream:
        start = stream.read(_START)
    if not start.strip():
        raise UnreadableFile(f"{file} is empty.", "name the file that the training loop writes its losses to.")
    for known in formats.values():
        if known.recognises(file, start):
            return known
    raise UnreadableFile(
        f"{file} is in no known format of training logs ({', '.join(formats)}).",
        "export it as CSV with a header, or as a JSON object a line.",
    )


def _table(format_: Format, place: Path, source: Source) -> Table:
    try:
        return format_.read(place, source)
    except (ValueError, OSError) as error:
        raise UnreadableFile(
            f"{place} {first_line(error)}.", "write the log as CSV with a header, or a JSON object a line."
        ) from error


def _wordy(table: Table, found: Mapping[str, str]) -> list[str]:
    return [
        f"`{name}`: {plural(count, 'cell')} left out, no number."
        for name, count in table.wordy.items()
        if name in found.values()
    ]


class _Joined(NamedTuple):
    """A log's series over their steps.

    Attributes:
        series: By our names.
        axis: What the steps count.
        left_out: Rows with a loss that were left out.
        notes: What was assumed.
    """

    series: dict[str, Series]
    axis: Axis
    left_out: int
    notes: list[str]


def _joined(table: Table, found: Mapping[str, str], given: Mapping[str, str]) -> _Joined:
    """Every series over its own steps: rows of the same step belong together, and the later value counts."""
    step, axis, notes = _steps(table, found, given)
    series: dict[str, Series] = {}
    again, left_out = 0, 0
    stray = np.zeros(table.rows, np.bool_)
    for ours, theirs in found.items():
        if ours == "step":
            continue
        column = table.columns[theirs]
        at = np.arange(len(column.row), dtype=np.float64) if step is None else step[column.row]
        placed = np.abs(at) <= _LARGEST_STEP
        stray[column.row[~placed]] = True
        value = np.where(np.abs(column.value) >= _LARGEST, np.copysign(np.inf, column.value), column.value)
        made, twice = _over_steps(at[placed], value[placed])
        again = max(again, twice)
        if ours in LOSSES:
            left_out = max(left_out, len(column.row) - len(made))
        if made:
            series[ours] = made
    if stray.any():
        notes.append(f"{plural(int(stray.sum()), 'row')} left out, without a step.")
    if again:
        notes.append(f"{plural(again, 'step')} logged more than once; the later value was taken.")
    if table.time is not None and step is not None and "seconds" not in found:
        known = (np.abs(step) <= _LARGEST_STEP) & (np.abs(table.time) < _LARGEST)
        series["seconds"], _ = _over_steps(step[known], table.time[known])
    if "seconds" in series:
        clock, told = _clock(series.pop("seconds"), found.get("seconds"))
        notes += told
        if clock:
            series["seconds"] = clock
    return _Joined(series, axis, left_out, notes)


def _steps(
    table: Table, found: Mapping[str, str], given: Mapping[str, str]
) -> tuple[FloatArray | None, Axis, list[str]]:
    """The step of every row, NaN where it has none, and what it counts; None where each series counts its own rows."""
    if "step" not in found and table.step is not None:
        step, name = table.step, ""
    else:
        name = found.get("step", "")
        epochs = bool(name) and "step" not in given and "epoch" in name.lower()
        column = table.columns[name] if name else None
        if column is None or (epochs and len(np.unique(column.value)) < len(column.value)):
            told = "The log has no steps; rows are counted instead (--map step=NAME)."
            return np.arange(table.rows, dtype=np.float64), "row", [told]
        step = np.full(table.rows, np.nan)
        step[column.row] = column.value
    counts = [len(table.columns[theirs].row) for ours, theirs in found.items() if ours != "step"]
    if max(counts, default=0) > 1 and len(np.unique(step[np.isfinite(step)])) == 1:
        told = f"All rows have the step {step[np.isfinite(step)][0]:.10g}; they are taken in their order instead."
        return None, "row", [told]
    return step, "epoch" if "epoch" in name.lower() else "step", []


def _clock(times: Series, name: str | None) -> tuple[Series, list[str]]:
    """Seconds since the first point; empty, with a note, where they run back and so are no clock."""
    times = times.finite()
    with np.errstate(over="ignore"):
        value = times.value - times.value[:1]
    if (np.diff(value) < 0).any():
        place = float(times.step[1:][np.diff(value) < 0][0])
        called = "The log's wall clock" if name is None else f"`{cut(name)}`"
        return Series(np.empty(0), np.empty(0)), [f"{called} runs back at step {place:.10g} and was not taken as time."]
    if len(value) and abs(float(times.value[0])) > _MILLISECONDS:
        value = value / 1000
    return Series(times.step, value), []


def _over_steps(step: FloatArray, value: FloatArray) -> tuple[Series, int]:
    order = np.argsort(step, kind="stable")
    ordered, values = step[order], value[order]
    last = np.append(ordered[1:] != ordered[:-1], True)[: len(ordered)]
    return Series(ordered[last], values[last]), int((~last).sum())


def _config(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Settings as text, and what went wrong with them."""
    path = next((folder / name for name in _SETTINGS if (folder / name).is_file()), None)
    if path is None:
        return {}, []
    try:
        content = read_plain(path, _MOST_SETTINGS)
        if path.suffix == ".yaml":
            return dict(_LINE.findall(content.decode("utf-8", "replace"))), []
        plain = json.loads(content)
        if not isinstance(plain, dict):
            raise ValueError("no JSON object")
        return as_settings(plain), []
    except (UnreadableFile, ValueError, RecursionError) as error:
        return {}, [f"{path.name} was not read: {cut(first_line(error))}."]
