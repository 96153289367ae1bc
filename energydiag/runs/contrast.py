"""InfoNCE between chance and floor.

With N negatives, temperature τ and a head whose energies span R, InfoNCE of a model that cannot tell is log(1 + N),
and no weights bring it below log(1 + N·exp(−R/τ)). Where InfoNCE was not logged apart, the loss is taken for it.

* ``run.info_nce.first``: the first one that was logged.
* ``run.info_nce.last``, ``run.info_nce.chance``, ``run.info_nce.floor``: the mean over the log's end, and its limits.
* ``run.info_nce.slope_last_half``: how far it moved along a robust line over the second half of its points.
* ``run.chance_gap``: (chance − last) / chance. 0: nothing learned; 1: no loss left; below 0: worse than chance.
* ``run.floor_gap``: (last − floor) / (chance − floor). 0: as low as this head lets it be; 1: nothing learned.

Both need what the settings beside the log, or the user, tell of batch size or negatives, head and temperature.
"""

from __future__ import annotations

from collections.abc import Iterable

from energydiag.results import Measurement, Skipped
from energydiag.runs.family import Family, Run, measured
from energydiag.runs.trends import change, last_half, mean, scaled, tail
from energydiag.statistics import Estimate


def _measure(run: Run) -> Iterable[Measurement | Skipped]:
    series = run.contrast()
    if not len(series):
        return
    last = mean(tail(series).value)
    yield Measurement.of("run.info_nce.first", float(series.value[0]), 1)
    yield measured("run.info_nce.last", last)
    yield measured("run.info_nce.slope_last_half", change(last_half(series)))
    chance, floor = run.limits.chance, run.limits.floor
    if chance is None:
        return
    yield Measurement.of("run.info_nce.chance", chance, 1)
    yield measured("run.chance_gap", _shifted(scaled(last, -1 / chance), 1.0))
    if floor is None:
        return
    if (last.ci95[1] if last.ci95 else last.value) < floor:
        reason = (
            f"InfoNCE ends at {last.value:.3g}, below the floor of {floor:.3g} for {', '.join(run.limits.facts)}: "
            "one of these was not the run's"
        )
        yield Skipped("run.floor_gap", reason)
        return
    yield Measurement.of("run.info_nce.floor", floor, 1)
    unit = chance - floor
    yield measured("run.floor_gap", _shifted(scaled(last, 1 / unit), -floor / unit))


def _shifted(estimate: Estimate, by: float) -> Estimate:
    ends = None if estimate.ci95 is None else (estimate.ci95[0] + by, estimate.ci95[1] + by)
    return Estimate(estimate.value + by, ends, estimate.n)


FAMILY = Family("contrast", _measure)
