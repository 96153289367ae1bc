"""Energy drift: all energies lie so far from zero that the model's own precision loses their differences.

## What it checks
How far apart two neighboring numbers are at the energies' level in the type that the model computes in (float32 rounds
by 1.2e-7 of a number, bfloat16 by 1/128), in units of the standard deviation of E over swap pairs.

## Why it is bad
InfoNCE sees differences of energies, so nothing holds their level. Where the rounding step at that level is no longer
small beside the differences, near actions become ties, and gradients steps.

## Example
The sample `healthy` with 1000 added to every energy, in bfloat16: numbers near 1000 are 4 apart there, nearly the whole
spread of 4.92. In float32 they are 6e-5 apart, and nothing is lost: no finding.

## What to do
Hold the energies with a weak L2 term (`energy-anchor`); or subtract each context's mean before E is used.

## Known limits
The type of the parameters is looked at; a model that computes in a smaller one inside, as under autocast, loses more. A
level that still moves during training is told by the log (ED705). A level that harms nothing is no finding.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, percent

_STEP = Threshold(0.05, "heuristic: 20 steps a standard deviation; a bfloat16 model whose level is its spread has .01")
_CONSTANT = Threshold(1.0, "by definition: differences below one step are rounding, and the energy is constant")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    step, mean, spread = (given[f"head.{name}"].value for name in ("rounding", "energy_mean", "energy_std"))
    if not _STEP.value < step <= _CONSTANT.value:
        return None
    return Judgement(
        "warning",
        f"Energies lie around {number(mean)} and differ by {number(spread)} (standard deviation): at that level the "
        f"model's numbers are {percent(step)} of it apart.",
        "The loss sees differences of energies only, and nothing else held their level.",
    )


RULE = Rule(
    code="ED107",
    name="energy-drift",
    needs=("head.rounding", "head.energy_mean", "head.energy_std"),
    evidence=("head.rounding", "head.energy_mean", "head.energy_std"),
    thresholds={"step": _STEP, "constant": _CONSTANT},
    judge=_judge,
    explains=("ED508",),
    fixes=("energy-anchor",),
)
