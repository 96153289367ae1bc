"""The log in memory: sparse columns of numbers over steps, few enough to be judged at any time."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from energydiag.runs.log import RunLog, Series
from energydiag.runs.names import NAMES, matched

MARK = "seconds"
"""What every row has that was measured for, and no other row has."""


class History:
    """What was logged so far.

    Args:
        rows: From earlier, in order of their steps.
    """

    def __init__(self, rows: Iterable[Mapping[str, float]] = ()) -> None:
        self._columns: dict[str, tuple[array[int], array[float]]] = {}
        self.last: int | None = None
        for row in rows:
            self.add(int(row["step"]), {name: value for name, value in row.items() if name != "step"})

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """One more row. Of two values of one step the later counts; a value of an earlier step is left out."""
        for name, value in values.items():
            steps, numbers = self._columns.setdefault(name, (array("q"), array("d")))
            if steps and steps[-1] == step:
                numbers[-1] = value
            elif not steps or steps[-1] < step:
                steps.append(step)
                numbers.append(value)
        self.last = step if self.last is None else max(step, self.last)

    @property
    def names(self) -> frozenset[str]:
        """Of the columns."""
        return frozenset(self._columns)

    def __len__(self) -> int:
        """How many values the longest column has."""
        return max((len(steps) for steps, _ in self._columns.values()), default=0)

    def before(self, step: int) -> History:
        """The rows of earlier steps alone."""
        return History(row for row in self.rows() if row["step"] < step)

    def thinned(self) -> History:
        """Without every second of the rows that nothing was measured for."""
        rows = list(self.rows())
        plain = [row for row in rows if MARK not in row]
        dropped = {id(row) for row in plain[1::2]}
        return History(row for row in rows if id(row) not in dropped)

    def rows(self) -> Iterator[dict[str, float]]:
        """Every row with its step, in order."""
        joined: dict[int, dict[str, float]] = {}
        for name, (steps, numbers) in self._columns.items():
            for step, value in zip(steps, numbers, strict=True):
                joined.setdefault(step, {"step": step})[name] = value
        for step in sorted(joined):
            yield joined[step]

    def run_log(self, config: Mapping[str, str]) -> RunLog:
        """What `energydiag.runs.read_run` would make of the log."""
        names, _ = matched([name for name in self._columns if name not in NAMES["step"]], {})
        series = {ours: _series(*self._columns[theirs]) for ours, theirs in names.items()}
        return RunLog(series, names, config, "", "jsonl", "", len(self))


def _series(steps: array[int], values: array[float]) -> Series:
    return Series(np.array(steps, dtype=np.float64), np.array(values, dtype=np.float64))


def line_of(row: Mapping[str, float]) -> str:
    """A row as a line of JSON; NaN and infinity as Python writes and reads them."""
    plain = {name: int(value) if name == "step" else float(f"{value:.9g}") for name, value in row.items()}
    return json.dumps(plain) + "\n"


def rows_of(text: str) -> Iterator[dict[str, float]]:
    """The rows in such lines; what is no row, such as the beginning of one, is left out."""
    for line in text.splitlines():
        try:
            row = json.loads(line)
            yield {name: int(value) if name == "step" else float(value) for name, value in row.items()} | {
                "step": int(row["step"])
            }
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
