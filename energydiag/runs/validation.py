"""Training against held-out samples, where a validation loss was logged.

* ``run.validation.last``: mean over the last tenth of the validations (ten at least, no more than half).
* ``run.validation_gap``: that minus the training loss at the log's end, in nats. InfoNCE is compared with InfoNCE only
  where the same kind of loss was logged for both.
* ``run.validation_rise``: from where the running mean over a fifth of the validations (three at least) is lowest to
  the end, along a robust line, over that lowest mean. 0 where it is among the last eight, from which no trend can be
  told.
* ``run.validation.chance_gap``: (chance − last) / chance, as for training.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from energydiag.results import Measurement, Skipped
from energydiag.runs.family import Family, Run, measured
from energydiag.runs.log import Series
from energydiag.runs.trends import LEAST, change, mean, scaled, tail
from energydiag.statistics import Estimate


def _measure(run: Run) -> Iterable[Measurement | Skipped]:
    held_out = run.log.finite("validation_loss")
    trained = _same_kind(run)
    if held_out is None or not len(trained):
        return
    last, own = mean(tail(held_out).value), mean(tail(trained).value)
    yield measured("run.validation.last", last)
    yield measured("run.validation_gap", _difference(last, own))
    yield from _rise(held_out)
    if run.limits.chance is not None:
        moved = scaled(last, -1 / run.limits.chance.value)
        ends = None if moved.ci95 is None else (1 + moved.ci95[0], 1 + moved.ci95[1])
        yield measured("run.validation.chance_gap", Estimate(1 + moved.value, ends, last.n))


def _same_kind(run: Run) -> Series:
    """The training loss that the validation loss is to be compared with."""
    name = run.log.names["validation_loss"].lower() if "validation_loss" in run.log.names else ""
    return run.objective() if "nce" in name or "contrastive" in name else run.loss()


def _difference(one: Estimate, other: Estimate) -> Estimate:
    """One minus the other, as independent means."""
    ends = None
    value = one.value - other.value
    if one.ci95 and other.ci95:
        reach = float(np.hypot(one.ci95[1] - one.ci95[0], other.ci95[1] - other.ci95[0])) / 2
        ends = (value - reach, value + reach)
    return Estimate(value, ends, one.n)


def _rise(held_out: Series) -> Iterable[Measurement | Skipped]:
    if len(held_out) < LEAST:
        yield Skipped("run.validation_rise", f"fewer than {LEAST} validations were logged")
        return
    width = max(3, len(held_out) // 5)
    running = np.convolve(held_out.value, np.full(width, 1 / width), mode="valid")
    lowest = int(running.argmin()) + width // 2
    rest = Series(held_out.step[lowest:], held_out.value[lowest:])
    level = abs(float(running.min()))
    moved = change(rest)
    if moved is None:
        yield Measurement.of("run.validation_rise", 0.0, len(held_out), (0.0, 0.0))
    elif level > 0:
        yield measured("run.validation_rise", scaled(moved, 1 / level))


FAMILY = Family("validation", _measure)
