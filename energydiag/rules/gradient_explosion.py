"""Gradient explosion: gradients end far longer than anything a step can use.

## What it checks
The median gradient norm over the end of the log, the same over the median of all before, and the longest over the
median.

## Why it is bad
Without clipping such a step throws the weights away; with clipping, every step goes where the loudest samples pull.

## Example
Unbounded energies that drifted to thousands at τ = .05: gradient norm 4e4. In `sample_checkpoints/runs/healthy` the
median is 9.9, the longest 17.2.

## What to do
Clip the norm (`clip-gradients`), raise or clamp the temperature (`clamped-temperature`), anchor the energies
(`energy-anchor`).

## Known limits
The norm grows with 1/τ and with the number of parameters; the limits are wide for that reason. A model that wakes up
late has gradients that grow, too.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number

_NORM = Threshold(1e3, "guess: a thousand times the usual clipping norm of 1, as for a checkpoint")
_GROWTH = Threshold(1e2, "guess: a model that begins to learn late grows its gradients by less")
_OUTLIER = Threshold(1e3, "guess: one batch that outweighs a thousand usual ones")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    last, longest, usual = (given[f"run.gradient.norm.{name}"].value for name in ("last", "max", "median"))
    growth = given.get("run.gradient.growth")
    if last > _NORM.value:
        return Judgement(
            "critical",
            f"The gradient's norm ends at {number(last)}.",
            "Energies, or one over the temperature, have grown so large that a few samples decide every step.",
        )
    if growth is not None and growth.value > _GROWTH.value:
        return Judgement(
            "warning",
            f"The gradient's norm ends at {number(last)}, {number(growth.value)} times what it was before.",
            "Energies grow, or the temperature falls, from step to step.",
        )
    if usual > 0 and longest > _OUTLIER.value * usual:
        return Judgement(
            "warning",
            f"The longest gradient has norm {number(longest)}; the usual one has {number(usual)}.",
            "Single batches hold values far from all others.",
        )
    return None


RULE = Rule(
    code="ED707",
    name="gradient-explosion",
    needs=("run.gradient.norm.last", "run.gradient.norm.max", "run.gradient.norm.median"),
    optional=("run.gradient.growth",),
    evidence=("run.gradient.norm.last", "run.gradient.norm.median", "run.gradient.norm.max", "run.gradient.growth"),
    thresholds={"norm": _NORM, "growth": _GROWTH, "outlier": _OUTLIER},
    judge=_judge,
    symptom=True,
    explains=("ED703", "ED715"),
    fixes=("clip-gradients", "clamped-temperature", "energy-anchor"),
)
