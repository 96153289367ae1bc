"""Batch-coupled: the energy of a sample depends on the rest of the batch.

## What it checks
The mean change of E between a call with one sample alone and a call with all of them, in units of the standard
deviation of E over swap pairs.

## Why it is bad
The same action in the same context gets another energy when other samples, or another batch size, stand beside it. In
training, a sample can be told from its negatives by its place in the batch instead of by what it says; in use, where
one context is asked alone, that is gone. Every other measurement here asks for pairs, not for batches, so what it says
of such a model is not what training saw.

## Example
An attention layer that was built without `batch_first=True` and is given `[B, S, D]`: the softmax runs over the
samples. The loss falls from 2.49 to .10, AUROC of held-out samples, each alone, is .59, and E moves by 60 of its
spreads.

## What to do
Look for an operation along the first dimension: attention without `batch_first=True`, `softmax(dim=0)`, a norm or a
mean over the whole batch, batch normalization that stays in train mode. No change of weights mends it: change the
model's code, and train it anew, since what was learned leans on the other rows.

## Known limits
The expert's actions alone are looked at, on at most 32 samples. What rounding explains is taken for no change.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number

_WARNING = Threshold(0.01, "heuristic: 1 % of the spread; rounding, which is taken off, is thousands of times less")
_CRITICAL = Threshold(0.1, "heuristic: a tenth of the spread changes the order of near actions")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    shift = given["conditioning.batch_dependence"]
    if low(shift) <= _WARNING.value:
        return None
    return Judgement(
        "critical" if low(shift) > _CRITICAL.value else "warning",
        f"The energy of a sample depends on the rest of the batch: alone it differs by {number(shift.value)} of its "
        "spread.",
        "An operation inside the model runs across the batch, so that its rows are coupled.",
    )


RULE = Rule(
    code="ED511",
    name="batch-coupled",
    needs=("conditioning.batch_dependence",),
    evidence=("conditioning.batch_dependence",),
    thresholds={"warning": _WARNING, "critical": _CRITICAL},
    judge=_judge,
    explains=(
        "ED101",
        "ED102",
        "ED103",
        "ED105",
        "ED106",
        "ED107",
        "ED108",
        "ED201",
        "ED202",
        "ED203",
        "ED204",
        "ED205",
        "ED206",
        "ED207",
        "ED301",
        "ED302",
        "ED303",
        "ED306",
        "ED308",
        "ED311",
        "ED401",
        "ED402",
        "ED403",
        "ED501",
        "ED502",
        "ED503",
        "ED504",
        "ED505",
        "ED506",
        "ED508",
        "ED509",
    ),
)
