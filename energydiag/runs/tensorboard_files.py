"""TensorBoard's event files: all points, from one file or from all files of a run's folder in order of time.

TensorBoard itself is not needed. What it leaves out of sight is told: points that a restart took back, damaged records,
a file that stops within a record.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from energydiag.runs import event_fields
from energydiag.runs.event_records import Ending, Frames, begins_record, frames
from energydiag.runs.log import FloatArray
from energydiag.runs.names import cut, listed
from energydiag.runs.source import Candidate, Source
from energydiag.runs.table import MOST_COLUMNS, Column, Format, Table, check_count, plural

_MARK = "tfevents"
_MOST_BYTES = 4 << 30
"""Of an event file, 4 GiB, since pictures may stand in it; it is read piece by piece."""

_MOST_FOLDERS, _DEEPEST = 10_000, 6
_MOST_KNOWN = 100_000


def _recognises(path: Path, start: bytes) -> bool:
    return begins_record(start) or _MARK in path.name


def _inside(folder: Path) -> Path | None:
    return folder if next(_folders(folder), None) is not None else None


def _folders(folder: Path) -> Iterator[Path]:
    """The folder and those inside of it, as far as they hold event files."""
    for count, (place, inner, files) in enumerate(os.walk(folder)):
        inner.sort()
        if count >= _MOST_FOLDERS or len(Path(place).relative_to(folder).parts) >= _DEEPEST:
            inner.clear()
        if any(_MARK in name for name in files):
            yield Path(place)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _MARK in path.name and path.is_file())


def _read(path: Path, source: Source) -> Table:
    if path.is_dir():
        folder, notes = _chosen(path, source)
        files = sorted(_files(folder), key=lambda file: (_begin(file), file.name))
    else:
        beside = [file for file in _files(path.parent) if file != path]
        files, notes = [path], list[str]()
        if beside:
            notes.append(f"{plural(len(beside), 'event file')} beside this one, not read; name the folder to read all.")
    points = _Points()
    for file in files:
        points.take(file, source)
    return points.table(notes)


def _chosen(folder: Path, source: Source) -> tuple[Path, list[str]]:
    """The folder of the run that is meant, and what is told of others."""
    runs = {found.relative_to(folder).as_posix(): found for found in _folders(folder)}
    if "." in runs and not source.run:
        inner = [name for name in runs if name != "."]
        return folder, [f"Folders inside with further event files, not read: {listed(inner)}."] if inner else []
    latest = sorted(runs, key=lambda name: -max(file.stat().st_mtime for file in _files(runs[name])))
    return runs[source.chosen([Candidate(name) for name in latest]).key], []


def _begin(file: Path) -> float:
    """When the file was begun, as its first record says."""
    try:
        with file.open("rb") as stream:
            first = next(frames(iter([stream.read(65536)])))
        if len(first.start):
            start = int(first.start[0])
            return event_fields.event(first.data, start, start + int(first.length[0])).time
    except (OSError, ValueError, Ending, StopIteration):
        pass
    return float("inf")


@dataclass(frozen=True)
class _Part:
    """Points in the order of their records: which tag, and what."""

    tag: NDArray[np.int64]
    step: FloatArray
    time: FloatArray
    value: FloatArray


class _Points:
    """All points, a row each, in the order of files."""

    def __init__(self) -> None:
        self.tags: dict[str, int] = {}
        self.parts = [_Part(np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0))]
        self.count = 0
        self.notes: list[str] = []
        self.files: list[tuple[str, int]] = []
        self.begun: list[tuple[int, int]] = []
        self.others: Counter[str] = Counter()
        self.plugins: dict[str, str] = {}
        # Writers make many events that differ in step, time and value alone. By how far from its end the value of four
        # bytes stands: what else stands behind the step, and whose value it is.
        self.known: dict[int, dict[bytes, int]] = {4: {}}

    def take(self, file: Path, source: Source) -> None:
        """The points of one more file."""
        self.files.append((file.name, self.count))
        damaged = bad = 0
        try:
            for found in frames(source.pieces(file, _MOST_BYTES)):
                damaged += found.damaged
                bad += self._events(found)
                check_count(self.count)
        except Ending as ending:
            name, size = cut(file.name), file.stat().st_size
            if ending.cut:
                self.notes.append(
                    f"`{name}` ends within a record: its last {size - ending.place} bytes were not read. The training "
                    "was stopped there, or is still writing."
                )
            else:
                self.notes.append(
                    f"`{name}` is damaged at byte {ending.place}: the {size - ending.place} bytes from there on cannot "
                    "be read, since nothing says where the next record begins."
                )
        if damaged:
            self.notes.append(f"`{cut(file.name)}`: {plural(damaged, 'record')} left out, with a wrong checksum.")
        if bad:
            self.notes.append(f"`{cut(file.name)}`: {plural(bad, 'record')} left out, no event.")

    def _events(self, found: Frames) -> int:
        """Takes what the records say, and says how many could not be understood."""
        flat = np.frombuffer(found.data, np.uint8)
        end = found.start + found.length
        behind, step = _behind_step(flat, found)
        tag, place = self._looked_up(found.data, behind, end)
        slow, begun, bad = self._one_by_one(found, behind, end, tag, place)
        fast = np.flatnonzero(tag >= 0)
        columns = [
            fast,
            tag[fast],
            step[fast],
            _numbers(flat, found.start[fast] + 1, "<f8"),
            _numbers(flat, place[fast], "<f4"),
        ]
        if slow:
            columns = [
                np.concatenate([one, other]) for one, other in zip(columns, zip(*slow, strict=True), strict=True)
            ]
        order = np.argsort(columns[0], kind="stable")
        record, which, steps, times, values = (column[order] for column in columns)
        self.begun += [(self.count + int(np.searchsorted(record, at)), first) for at, first in begun]
        numbers = (column.astype(np.float64) for column in (steps, times, values))
        self.parts.append(_Part(which.astype(np.int64), *numbers))
        self.count += len(order)
        return bad

    def _one_by_one(
        self,
        found: Frames,
        behind: NDArray[np.int64],
        end: NDArray[np.int64],
        tag: NDArray[np.int64],
        place: NDArray[np.int64],
    ) -> tuple[list[tuple[int, int, float, float, float]], list[tuple[int, int]], int]:
        """Reads the records without a tag, and learns from them: those like one before get their tag and place.

        Returns:
            Record, tag, step, time and value of all others; record and step of every restart; how many are no events.
        """
        points, begun, bad = list[tuple[int, int, float, float, float]](), list[tuple[int, int]](), 0
        for at in np.flatnonzero(tag < 0).tolist():
            first, stop = int(behind[at]), int(end[at])
            for tail, known in self.known.items() if first else ():
                tag[at], place[at] = known.get(_around(found.data, first, stop, tail), -1), stop - tail
                if tag[at] >= 0:
                    break
            if tag[at] >= 0:
                continue
            try:
                event = event_fields.event(found.data, int(found.start[at]), stop)
            except ValueError:
                bad += 1
                continue
            if event.starts:
                begun.append((at, event.step))
            points += ((at, which, event.step, event.time, number) for which, number in self._values(event))
            self._remember(event, found.data, first, stop)
        return points, begun, bad

    def _looked_up(
        self, data: bytes, behind: NDArray[np.int64], end: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Whose value each record holds, -1 where that is not known yet, and where its four bytes stand."""
        tag, place = np.full(len(end), -1, np.int64), end - 4
        for tail, known in self.known.items():
            left = np.flatnonzero((tag < 0) & (behind > 0) & (behind + tail <= end))
            first, last = behind[left].tolist(), end[left].tolist()
            if tail == 4:
                found = [known.get(data[a : b - 4], -1) for a, b in zip(first, last, strict=True)]
            else:
                found = [known.get(_around(data, a, b, tail), -1) for a, b in zip(first, last, strict=True)]
            tag[left], place[left] = found, end[left] - tail
        return tag, place

    def _values(self, event: event_fields.Event) -> Iterator[tuple[int, float]]:
        """The scalars of an event, with the numbers of their tags."""
        for value in event.values:
            plugin = (
                self.plugins.setdefault(value.tag, value.plugin) if len(self.plugins) < _MOST_KNOWN else value.plugin
            )
            if value.number is None or plugin not in ("", "scalars"):
                self.others[plugin if len(self.others) < _MOST_KNOWN else ""] += 1
                continue
            if value.tag not in self.tags and len(self.tags) == MOST_COLUMNS:
                raise ValueError(f"has more than {MOST_COLUMNS} columns")
            yield self.tags.setdefault(value.tag, len(self.tags)), value.number

    def _remember(self, event: event_fields.Event, data: bytes, behind: int, end: int) -> None:
        """Keeps what an event looks like, where it holds one number and nothing else behind its step."""
        if not behind or len(event.values) != 1 or event.values[0].place is None:
            return
        (value,) = event.values
        if self.plugins.get(value.tag, "") not in ("", "scalars") or value.tag not in self.tags:
            return
        tail = end - (value.place or 0)
        if len(list(event_fields.fields(data, behind, end))) != 1 or (tail not in self.known and len(self.known) == 4):
            return
        known = self.known.setdefault(tail, {})
        if len(known) < _MOST_KNOWN:
            known[_around(data, behind, end, tail)] = self.tags[value.tag]

    def table(self, notes: list[str]) -> Table:
        """Everything that was taken, without what a restart took back."""
        tag, step, time, value = (
            np.concatenate([getattr(part, name) for part in self.parts]) for name in ("tag", "step", "time", "value")
        )
        kept = self._kept(step)
        first = [int(kept[:row].sum()) for _, row in self.files]
        lost = int((~kept).sum())
        tag, step, time, value = tag[kept], step[kept], time[kept], value[kept]
        order = np.argsort(tag, kind="stable")
        edges = np.searchsorted(tag[order], np.arange(len(self.tags) + 1))
        columns = {
            name: Column(order[edges[at] : edges[at + 1]], value[order[edges[at] : edges[at + 1]]])
            for name, at in self.tags.items()
        }
        told = [*notes, *self.notes]
        if len(self.files) > 1:
            told.append(f"{len(self.files)} event files, read in the order in which they were begun.")
        if lost:
            told.append(f"{plural(lost, 'point')} left out that a restart from an earlier step took back.")
        told += self._overlaps(columns, step, first)
        if self.others:
            kinds = ", ".join(f"{cut(kind) or 'of no plugin'} ({count})" for kind, count in self.others.most_common(8))
            told.append(f"Values left out, no scalars: {kinds}.")
        return Table(columns, len(step), {}, tuple(told), step, time)

    def _kept(self, step: FloatArray) -> NDArray[np.bool_]:
        """Points that no later session took back by beginning at their step or before."""
        limit = np.full(len(step) + 1, np.inf)
        for place, begin in self.begun:
            limit[place] = min(limit[place], begin)
        kept: NDArray[np.bool_] = step < np.minimum.accumulate(limit[::-1])[::-1][1:]
        return kept

    def _overlaps(self, columns: dict[str, Column], step: FloatArray, first: list[int]) -> Iterator[str]:
        """Files that begin again below the last step of a file before."""
        again: dict[int, tuple[float, float]] = {}
        for column in columns.values():
            at, file = step[column.row], np.searchsorted(first, column.row, "right") - 1
            for place in (np.flatnonzero(np.diff(file)) + 1).tolist():
                reached = float(at[:place].max())
                if at[place] <= reached:
                    low, high = again.get(int(file[place]), (np.inf, -np.inf))
                    again[int(file[place])] = min(low, float(at[place])), max(high, reached)
        for number, (low, high) in sorted(again.items()):
            yield (
                f"`{cut(self.files[number][0])}` begins again at step {low:.10g}, files before it went to {high:.10g}: "
                "a restart, or two writers at once."
            )


def _behind_step(flat: NDArray[np.uint8], found: Frames) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where in each record the rest begins, and its step; 0 where time and step do not stand in front of it."""
    usual = found.length > 22
    usual[usual] = flat[found.start[usual]] == 0x09  # the time
    place, step = np.where(usual, found.start + 9, 0), np.zeros(len(usual), np.int64)
    open_ = np.flatnonzero(usual & (flat[place] == 0x10))
    place[open_] += 1
    for shift in range(0, 63, 7):
        byte = flat[place[open_]].astype(np.int64)
        step[open_] |= (byte & 127) << shift
        place[open_] += 1
        open_ = open_[byte > 127]
    place[open_] = 0  # a step below 0
    return place, step


def _around(data: bytes, behind: int, end: int, tail: int) -> bytes:
    """What stands behind the step, without the four bytes so far from the end."""
    return data[behind : end - tail] + data[end - tail + 4 : end]


def _numbers(flat: NDArray[np.uint8], place: NDArray[np.int64], kind: str) -> FloatArray:
    width = np.dtype(kind).itemsize
    return np.ascontiguousarray(flat[place[:, None] + np.arange(width)]).view(kind)[:, 0].astype(np.float64)


FORMAT = Format("tensorboard", _recognises, _inside, _read)
