"""Energy drift: positive and negative energies move together, or grow, while the loss does not see it.

## What it checks
How far the mean level (E₊ + E₋)/2 moved over the second half of the log, in units of the gap; and how much larger
energies are at the end than in the middle.

## Why it is bad
InfoNCE sees differences of energies within a context. A level that runs away costs nothing until numbers lose digits
(half precision has three), thresholds on the energy mean something else every day, and gradients grow with the scale.

## Example
Arithmetic: at level 4096 half precision has steps of 4; a gap of 3 between two energies is then 4 or 0. In
`sample_checkpoints/runs/healthy`, with an anchor, the level moved by −.07 gaps over the second half.

## What to do
Add an L2 anchor on the energies (`energy-anchor`).

## Known limits
Needs both mean energies in the log. A learned temperature makes energies grow without harm.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import at_least
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, with_interval

_DRIFT = Threshold(1.0, "guess: over the second half alone the level moved by as much as the head tells apart")
_GROWTH = Threshold(10.0, "guess: a digit of precision over the second half")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    drift = given["run.energy_drift"]
    if at_least(drift) > _DRIFT.value:
        return Judgement(
            "warning",
            f"Over the second half the mean energy moved by {with_interval(drift)} times the gap.",
            "Nothing in the loss holds the level of the energies, only their differences.",
        )
    growth = given.get("run.energy_scale_growth")
    if growth is not None and growth.value > _GROWTH.value:
        return Judgement(
            "warning",
            f"Energies at the end are {number(growth.value)} times as large as in the middle of the log.",
            "Without an upper end, larger differences always lower InfoNCE a little.",
        )
    return None


RULE = Rule(
    code="ED705",
    name="energy-drift-in-run",
    needs=("run.energy_drift",),
    optional=("run.energy_scale_growth", "run.gap.last"),
    evidence=("run.energy_drift", "run.energy_scale_growth", "run.gap.last"),
    thresholds={"drift": _DRIFT, "growth": _GROWTH},
    judge=_judge,
    fixes=("energy-anchor",),
)
