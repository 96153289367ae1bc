"""Values that their quantities cannot have.

* ``run.impossible``: how many of the log's values these are.
* ``run.objective.below_zero``: share of the objective's points below 0, where it cannot be: InfoNCE, cross-entropies,
  hinges and squared errors are not.
* ``run.NAME.max``: largest value of each ranking (top-1, recall, AUROC, precision), as a fraction.
"""

from __future__ import annotations

from collections.abc import Iterable

from energydiag.results import Measurement
from energydiag.runs.family import Family, Run
from energydiag.runs.names import RANKINGS
from energydiag.runs.ranking import fraction

_ROUNDING = 1e-4
"""What a rounded or averaged 1 may exceed 1 by (heuristic)."""


def _measure(run: Run) -> Iterable[Measurement]:
    impossible, count = 0, 0
    objective = run.objective()
    if run.limits.objective.is_known and not run.limits.objective.objective.may_be_negative and len(objective):
        below = objective.value < 0
        impossible, count = int(below.sum()), len(below)
        yield Measurement.of("run.objective.below_zero", float(below.mean()), count)
    for name in RANKINGS:
        found = run.log.finite(name)
        if found is not None:
            series = fraction(found)
            impossible, count = impossible + int((series.value > 1 + _ROUNDING).sum()), count + len(series)
            yield Measurement.of(f"run.{name}.max", float(series.value.max()), len(series))
    if count:
        yield Measurement.of("run.impossible", float(impossible), count)


FAMILY = Family("possible", _measure)
