"""How well positives were ranked during training, by every series that says so: top-1, recall, AUROC, precision.

For each that was logged, held out (``validation_…``) or not:

* ``run.NAME.first``, ``run.NAME.last``: mean over the first three points (the first, of fewer than nine), and over the
  log's end.
* ``run.NAME.best``: the highest running mean over a fifth of the points.
* ``run.NAME.chance``: of a model that cannot tell, where that is known: 1/(1 + N) for top-1, one half for AUROC and for
  the accuracy over pairs, 0 for a correlation or R².

Values above 1.5 throughout the log's largest are taken as percent. A value above 1 that is none is kept as it is.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from energydiag.results import Measurement, Skipped
from energydiag.runs.family import Family, Run, measured
from energydiag.runs.log import Series
from energydiag.runs.names import RANKINGS
from energydiag.runs.trends import mean, tail

_PERCENT = 1.5


def fraction(series: Series) -> Series:
    """The series in [0, 1], where it was logged in percent."""
    return Series(series.step, series.value / 100) if float(series.value.max()) > _PERCENT else series


def _measure(run: Run) -> Iterable[Measurement | Skipped]:
    for name in RANKINGS:
        found = run.log.finite(name)
        if found is None:
            continue
        series = fraction(found)
        n = len(series)
        yield Measurement.of(f"run.{name}.first", float(series.value[: 3 if n >= 9 else 1].mean()), n)
        yield measured(f"run.{name}.last", mean(tail(series).value))
        width = max(1, n // 5)
        sums = np.cumsum(np.insert(series.value, 0, 0.0))
        yield Measurement.of(f"run.{name}.best", float(((sums[width:] - sums[:-width]) / width).max()), n)
        chance = _chance(run, name)
        if chance is not None:
            yield Measurement.of(f"run.{name}.chance", chance, 1)
    saturation = run.log.finite("saturation")
    if saturation is not None:
        yield measured("run.saturation.last", mean(tail(saturation).value))


def _chance(run: Run, name: str) -> float | None:
    if name.endswith("auroc"):
        return 0.5
    if name.endswith("correlation"):
        return 0.0
    if not name.endswith("top1"):
        return None
    found = run.limits.objective
    if found.objective.name in ("bt", "bce") or (found.fitting and {"bt", "bce"} & set(found.fitting)):
        return 0.5
    negatives = run.limits.negatives
    if name.startswith("validation"):  # a validation may have another number of candidates
        return None
    return None if not negatives else 1 / (1 + negatives)


FAMILY = Family("ranking", _measure)
