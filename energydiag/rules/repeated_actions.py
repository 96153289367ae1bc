"""Repeated actions: other contexts have the very same action, so negatives repeat the positive.

## What it checks
The fraction of other contexts' actions that equal a sample's own, bit for bit.

## Why it is bad
An in-batch negative that is the positive cannot be told from it: the softmax shares its weight among k equal actions,
and the loss cannot fall below log k. Actions that are frequent are pushed away from where they belong; top-1 and AUROC
count as wrong what is right.

## Example
Arithmetic: twelve distinct actions in batches of 128: about 10.7 candidates are the positive, and the loss ends at
log(128/12) = 2.37 above 0 at best, not at 0.

## What to do
Leave equal actions out of the negatives (`false-negative-filter`), or draw batches of distinct actions. Where actions
are discrete, a cross-entropy over the distinct ones says the same without repeats.

## Known limits
Only actions that are equal bit for bit are counted; near ones are false-negatives' business. An idle robot repeats its
action, too: a few percent of such frames are harmless.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import percent

_REPEATED = Threshold(0.02, "heuristic: in a batch of 64, more than one negative is the positive")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    repeated, distinct = given["data.repeated_actions"], given.get("data.distinct_actions")
    if low(repeated) <= _REPEATED.value:
        return None
    told = f" ({distinct.value:.0f} distinct actions in {distinct.n} samples)" if distinct is not None else ""
    return Judgement(
        "warning",
        f"{percent(repeated.value)} of other contexts' actions are the same as the expert's{told}: negatives repeat "
        "the positive.",
        "The data have few distinct actions, or idle frames; in-batch negatives are then false negatives.",
    )


RULE = Rule(
    code="ED609",
    name="repeated-actions",
    needs=("data.repeated_actions",),
    optional=("data.distinct_actions",),
    evidence=("data.repeated_actions", "data.distinct_actions"),
    thresholds={"repeated": _REPEATED},
    judge=_judge,
    explains=("ED103", "ED201", "ED203", "ED206", "ED207", "ED603", "ED719"),
    fixes=("false-negative-filter",),
)
