"""A training log as series of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Axis = Literal["step", "epoch", "row"]


@dataclass(frozen=True)
class Series:
    """One quantity over the steps at which it was logged; other quantities may have other steps.

    Attributes:
        step: Increasing.
        value: As many; may hold NaN and infinity where the log does.
    """

    step: FloatArray
    value: FloatArray

    def __len__(self) -> int:
        return len(self.step)

    def finite(self) -> Series:
        """Without the points that are not finite."""
        kept = np.isfinite(self.value)
        return self if kept.all() else Series(self.step[kept], self.value[kept])

    def since(self, step: float) -> Series:
        """The points from a step on."""
        kept = self.step >= step
        return Series(self.step[kept], self.value[kept])

    def beside(self, other: Series) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Steps at which both were logged, and both values there."""
        steps, mine, theirs = np.intersect1d(self.step, other.step, assume_unique=True, return_indices=True)
        return steps, self.value[mine], other.value[theirs]


NOTHING = Series(np.empty(0), np.empty(0))
"""A series without a point."""


@dataclass(frozen=True)
class RunLog:
    """What a training log says.

    Attributes:
        series: By our names (see `energydiag.runs.names`); ``seconds`` is wall clock since its first point.
        names: Our name of every series, to the name that it has in the file; without ``seconds`` where the format
            keeps them beside the numbers.
        config: Settings of the run as text, from the log itself and from ``config.json`` or ``hparams.yaml`` beside it;
            inner keys after a dot.
        path: The file or folder with the numbers.
        format: What it is written in.
        sha256: Of the file, or of the run's files one after the other.
        rows: How many rows were read.
        axis: What the steps count: ``step``, ``epoch`` or ``row``.
        unread: Columns that have no name of ours.
        left_out: Rows that hold a loss and were left out, since they have no step, or another row has the same.
        notes: What was assumed, and what was not understood.
    """

    series: Mapping[str, Series]
    names: Mapping[str, str]
    config: Mapping[str, str]
    path: str
    format: str
    sha256: str
    rows: int
    axis: Axis = "step"
    unread: tuple[str, ...] = ()
    left_out: int = 0
    notes: tuple[str, ...] = ()

    def finite(self, name: str) -> Series | None:
        """The finite points of a series, or None where there are none."""
        found = self.series.get(name)
        found = None if found is None else found.finite()
        return found if found else None
