"""No separation: energies do not tell the expert's action from other samples' actions.

## What it checks
AUROC within a context against swap negatives: the share of other samples' expert actions with a higher energy. Chance
is .5; the rule looks at the end of the 95 % interval, so a small sample alone does not trigger it.

## Why it is bad
Swap negatives are the easiest there are. An energy that cannot tell them cannot rank a policy's candidates.

## Example
Trained on noise negatives only: the loss fell to .2, AUROC against other contexts' actions is .52.

## What to do
Mix negatives from other contexts with near ones (`mixed-negatives`); lower a temperature that is too high for the
energy's range (`lower-temperature`); check that the context reaches the head.

## Known limits
Where contexts of a dump are nearly the same (one task, one pose), other samples' actions are right too, and a low
value is the data's fault.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import high, low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.sign import inverted
from energydiag.rules.wording import with_interval

_WARNING = Threshold(0.80, "the design's healthy range")
_CRITICAL = Threshold(0.60, "guess: closer to chance than to the healthy range")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    auroc = given["auroc.swap"]
    if high(auroc) >= _WARNING.value or inverted(auroc, given.get("gap_std.swap")):  # another rule's finding
        return None
    return Judgement(
        "critical" if low(auroc) < _CRITICAL.value else "warning",
        f"AUROC against other samples' actions is {with_interval(auroc)}; chance is 0.5.",
        "The energy depends too little on whether the action belongs to the context.",
    )


RULE = Rule(
    code="ED201",
    name="no-separation",
    needs=("auroc.swap",),
    optional=("gap_std.swap", "top1.swap"),
    evidence=("auroc.swap", "gap_std.swap", "top1.swap"),
    thresholds={"warning": _WARNING, "critical": _CRITICAL},
    judge=_judge,
    symptom=True,
    explains=("ED203", "ED402", "ED701"),
    fixes=("mixed-negatives", "lower-temperature"),
)
