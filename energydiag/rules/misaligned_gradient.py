"""Misaligned gradient: at the policy's action, the energy's descent does not point to the expert's.

## What it checks
The mean cosine of −∂E/∂a and a* − a at the policy's action, against the standard deviation 1/√(H·A) that the cosine of
a random direction has. Gradients that are next to nothing are another rule's.

## Why it is bad
A step along a direction with cosine c takes at best 1 − √(1 − c²) off the distance to the expert's action: 1.6 % for
c = .177, which is one deviation for 8 steps of 4 dimensions. The rest of the step is movement for nothing.

## Example
The sample `rescaled`: mean cosine .10 at the policy's action, interval .05 to .13, action error −.4 % after one step.

## What to do
Teach the direction (`alignment-loss`) at near negatives (`mixed-negatives`) and where descents lead
(`adversarial-negatives`).

## Known limits
Where several actions are right, the demonstrated one is not the only place to point at. A LayerNorm over the action
takes two dimensions of each step away from the gradient, but leaves it the others.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import high, low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, with_interval

_DEVIATIONS = Threshold(1.0, "guess: mean cosine in standard deviations of a random direction's")
_LIVE = Threshold(1e-2, "guess: the limit of a dead action gradient, from its other side")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    cosine, chance = given["field.alignment.policy"], given["field.alignment.chance_std"].value
    if high(cosine) >= _DEVIATIONS.value * chance or low(given["gradient.actions.relative_median"]) < _LIVE.value:
        return None
    away = high(cosine) < 0
    return Judgement(
        "critical" if away else "warning",
        f"At the policy's action the descent has cosine {with_interval(cosine)} with the way to the expert's; a random "
        f"direction's has standard deviation {number(chance)}"
        + (": it points away." if away else ": it hardly points anywhere."),
        "Training compared energies of single actions; nothing in it shaped the slope between them.",
    )


RULE = Rule(
    code="ED402",
    name="misaligned-gradient",
    needs=("field.alignment.policy", "field.alignment.chance_std", "gradient.actions.relative_median"),
    optional=("field.correction_gain.k1",),
    evidence=("field.alignment.policy", "field.alignment.chance_std", "field.correction_gain.k1"),
    thresholds={"deviations": _DEVIATIONS, "live": _LIVE},
    judge=_judge,
    symptom=True,
    explains=("ED401",),
    fixes=("alignment-loss", "mixed-negatives", "adversarial-negatives"),
)
