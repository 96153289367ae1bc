"""Negatives too much alike: the training loss stays at chance, though the energy tells other samples' actions.

## What it checks
InfoNCE in the log ends at chance (by the rule for that), while AUROC against the actions of a random set of samples, on
the checkpoint, lies above .55 with its whole interval.

## Why it is bad
Where a batch holds neighbours (the same moment, the same object, frames in their order), the actions of the others are
as right as the expert's own. The loss then asks for what cannot be told, and says nothing about what could be learned.

## Example
Batches made of the samples whose actions are nearest to each other: the loss stays within .001 of chance, AUROC over
random pairs is .6 to .9.

## What to do
Shuffle over all episodes; draw negatives from other tasks and times; leave those out that equal the positive
(`false-negative-filter`).

## Known limits
Without the log of its training a checkpoint does not show this.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import high, low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import with_interval

_TOLD = Threshold(
    0.55, "calibrated on the fault benchmark: .54 to .88 among neighbours, .5 where contexts were shuffled"
)
_LEARNED = Threshold(0.05, "plateau-at-chance's: a twentieth of the way from chance to 0")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    auroc, gap, last = given["auroc.swap"], given["run.chance_gap"], given["run.objective.last"]
    if low(auroc) <= _TOLD.value or high(gap) >= _LEARNED.value:
        return None
    return Judgement(
        "critical",
        f"Training ended at chance (InfoNCE {with_interval(last)}), yet AUROC against random samples' actions is "
        f"{with_interval(auroc)}.",
        "The negatives of a training batch were nearly as right as the positive.",
    )


RULE = Rule(
    code="ED719",
    name="negatives-alike",
    needs=("auroc.swap", "run.chance_gap", "run.objective.last"),
    optional=("run.objective.chance",),
    evidence=("run.objective.last", "run.objective.chance", "auroc.swap"),
    thresholds={"told": _TOLD, "learned": _LEARNED},
    judge=_judge,
    explains=("ED201", "ED203", "ED402", "ED701"),
    fixes=("false-negative-filter",),
)
