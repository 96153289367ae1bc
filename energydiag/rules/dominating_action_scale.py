"""Dominating action scale: one action dimension is much larger than the others.

## What it checks
The largest standard deviation of an action dimension over the median one; constant dimensions are left out.

## Why it is bad
Distances, errors and noise are measured in action units over all dimensions together: the large one decides them, and
noise of the same strength everywhere is nothing to it and far too much for the others. A normalised step moves all
dimensions by comparable amounts.

## Example
A gripper in millimetres, 0 or 80 (standard deviation 40), beside rotations that vary by .4 radians: a ratio of 100.

## What to do
Normalise actions by dimension, in the data of the policy and of the energy alike, and dump again.

## Known limits
A dimension that hardly ever moves has a small deviation without a scale of its own; the median is taken for that
reason.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import with_interval

_RATIO = Threshold(10.0, "guess: the largest dimension then is 100 times the median one in squared distances")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    ratio = given["data.dimension_scale_ratio"]
    if low(ratio) <= _RATIO.value:
        return None
    return Judgement(
        "warning",
        f"The most variable action dimension has {with_interval(ratio)} times the standard deviation of the median "
        "one.",
        "Actions are not normalised by dimension.",
    )


RULE = Rule(
    code="ED606",
    name="dominating-action-scale",
    needs=("data.dimension_scale_ratio",),
    evidence=("data.dimension_scale_ratio",),
    thresholds={"ratio": _RATIO},
    judge=_judge,
    explains=(
        "ED304",
        "ED403",
        "ED603",
    ),
)
