"""Leads astray: the energy ranks well, and following it makes actions worse.

## What it checks
The relative fall of the action error after four and after eight normalised steps down the energy from the policy's
action, at the best step length of a ladder. Below 0 with the whole 95 % interval, while AUROC against swap negatives is
good, every step length hurts.

## Why it is bad
Correction is what the energy is for. Ranking looks at given actions; following it looks for the lowest place nearby,
and no training example may ever have lain there. Loss, AUROC and even the first step tell nothing of it.

## Example
The sample `original`: AUROC .98 against other contexts' actions, action error −.1 % after one step, +.4 % after four,
+2.6 % after eight, while the energy falls at every one of them.

## What to do
Train on the places where descents end (`adversarial-negatives`), on the direction (`alignment-loss`), on the order of
near actions (`distance-ranking`) and on near negatives (`mixed-negatives`). Until then correct with one short step and
always compare with no step, or use the energy for ranking alone.

## Known limits
Where the policy is as good as the expert, any step makes it worse. Only the fourth and the eighth step are looked at.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import high, low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import percent, with_interval

_RANKS = Threshold(0.8, "the design's healthy range for AUROC")
_GAIN = Threshold(0.0, "by definition: below 0 the action error grows")

_STEPS = (4, 8)


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    gains = {steps: given[f"field.correction_gain.k{steps}"] for steps in _STEPS}
    hurting = {steps: gain for steps, gain in gains.items() if high(gain) < _GAIN.value}
    if not hurting or low(given["auroc.swap"]) <= _RANKS.value:
        return None
    steps, gain = min(hurting.items(), key=lambda item: item[1].value)
    change = given.get(f"field.correction_energy.k{steps}")
    falls = change is not None and high(change) < 0
    return Judgement(
        "critical",
        f"After {steps} steps down the energy the action error is {percent(-gain.value)} larger, at the best length"
        + (", although the energy falls" if falls else "")
        + f"; AUROC against other samples' actions is {with_interval(given['auroc.swap'])}.",
        "The energy is low in places near the policy's action where no example of training lay.",
    )


RULE = Rule(
    code="ED401",
    name="leads-astray",
    needs=("field.correction_gain.k4", "field.correction_gain.k8", "auroc.swap"),
    optional=(
        "field.correction_gain.k1",
        "field.correction_energy.k4",
        "field.correction_energy.k8",
        "field.spurious_minimum_rate",
    ),
    evidence=(
        "field.correction_gain.k1",
        "field.correction_gain.k4",
        "field.correction_gain.k8",
        "field.correction_energy.k8",
        "field.spurious_minimum_rate",
        "auroc.swap",
    ),
    thresholds={"ranks": _RANKS, "gain": _GAIN},
    judge=_judge,
    symptom=True,
    fixes=("adversarial-negatives", "alignment-loss", "distance-ranking", "mixed-negatives"),
)
