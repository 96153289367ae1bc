"""What a family of measurements on a log says of itself, and how all of them are made."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from energydiag.discovery import discover
from energydiag.results import Measurement, Skipped
from energydiag.runs.limits import Limits
from energydiag.runs.log import NOTHING, RunLog, Series
from energydiag.runs.names import LOSSES
from energydiag.statistics import Estimate


@dataclass(frozen=True)
class Answer:
    """What was measured on a log, and what could not be."""

    measurements: tuple[Measurement, ...] = ()
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True)
class Run:
    """What families look at: the log, and what its losses can be."""

    log: RunLog
    limits: Limits

    def loss(self) -> Series:
        """What was trained on: finite points of the loss, or of the objective where no other was logged."""
        return self._either("loss", *LOSSES)

    def objective(self) -> Series:
        """The objective's finite points, or the loss's where it was not logged apart."""
        return self._either(*LOSSES)

    def _either(self, *names: str) -> Series:
        found = [self.log.series[name].finite() for name in names if name in self.log.series]
        return found[0] if found else NOTHING


@dataclass(frozen=True)
class Family:
    """Measurements that belong together.

    Attributes:
        name: What they are called in the documentation.
        measure: From the log to numbers; nothing for what was not logged.
    """

    name: str
    measure: Callable[[Run], Iterable[Measurement | Skipped]]


def measure_run(log: RunLog, limits: Limits) -> Answer:
    """All measurements of a log; a value that is not finite is told as skipped, JSON has no such number."""
    measurements, skipped = [], []
    for family in discover("energydiag.runs", "FAMILY", Family).values():
        with np.errstate(all="ignore"):  # a log may hold numbers whose squares are none
            made = list(family.measure(Run(log, limits)))
        for found in made:
            if isinstance(found, Skipped):
                skipped.append(found)
            elif math.isfinite(found.value):
                ends = found.ci95 if found.ci95 and all(map(math.isfinite, found.ci95)) else None
                measurements.append(replace(found, source=family.name, ci95=ends))
            else:
                skipped.append(Skipped(found.name, f"the value is not finite ({found.value})", failed=True))
    return Answer(tuple(measurements), tuple(skipped))


def measured(name: str, estimate: Estimate | None) -> Measurement | Skipped:
    """A measurement from an estimate; skipped where there is none, for want of points."""
    if estimate is None:
        return Skipped(name, "too few points were logged")
    return Measurement.of(name, estimate.value, estimate.n, estimate.ci95)
