"""How much there is to judge from.

* ``run.steps``: the last step that was logged.
* ``run.points``: steps at which a finite loss was logged.
* ``run.nonfinite``: steps at which the loss, InfoNCE or the gradient norm is NaN or infinite.
* ``run.nonfinite.at_end``: how many of the loss's last points are so, without a finite one between them.
* ``run.last_finite_step``: the last logged step before the first of them; the last step where there is none.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from energydiag.results import Measurement
from energydiag.runs.family import Family, Run

_WATCHED = ("loss", "info_nce", "gradient_norm")


def _measure(run: Run) -> Iterable[Measurement]:
    watched = {name: run.log.series[name] for name in _WATCHED if name in run.log.series}
    steps = np.unique(np.concatenate([series.step for series in watched.values()]))
    bad = np.unique(np.concatenate([series.step[~np.isfinite(series.value)] for series in watched.values()]))
    trained = watched.get("loss", watched.get("info_nce"))
    assert trained is not None
    finite = np.flatnonzero(np.isfinite(trained.value))
    at_end = len(trained) - 1 - int(finite[-1]) if len(finite) else len(trained)
    good = steps[steps < bad[0]] if len(bad) else steps
    yield Measurement.of("run.steps", float(steps[-1]), len(steps))
    yield Measurement.of("run.points", float(len(finite)), len(trained))
    yield Measurement.of("run.nonfinite", float(len(bad)), len(steps))
    yield Measurement.of("run.nonfinite.at_end", float(at_end), len(trained))
    if len(good):
        yield Measurement.of("run.last_finite_step", float(good[-1]), len(steps))


FAMILY = Family("length", _measure)
