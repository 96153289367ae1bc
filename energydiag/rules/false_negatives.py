"""False negatives: many other samples' actions are as right here as the expert's.

## What it checks
The share of swap pairs whose actions differ less, mean absolute, than the policy's action does from the expert's on
average.

## Why it is bad
InfoNCE pushes such an action up in one context and pulls it down in the other, although no policy could tell the two
apart. In a batch of 64, a share of 5 % is three such negatives for every sample, and they get the most of its gradient,
since their energies are the closest. The energy rises beside the expert's action for that, and a step leads away.

## Example
The sample dump has 1.4 %. Its first 160 samples, each taken twice, have 13 %.

## What to do
Leave such pairs out of the contrast (`false-negative-filter`), or take their expected share out of the loss
(`debiased-loss`); draw batches over episodes and tasks.

## Known limits
With a weak policy the radius is wide and much is called false; an action that is near may still be wrong where
precision matters.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, percent

_RATE = Threshold(0.05, "the design's healthy range")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    rate, error = given["data.false_negative_rate"], given.get("data.policy_error")
    if low(rate) <= _RATE.value:
        return None
    radius = f" ({number(error.value)})" if error is not None else ""
    return Judgement(
        "warning",
        f"{percent(rate.value)} of the swap pairs have actions closer to each other than the policy comes to the "
        f"expert's{radius}.",
        "Samples resemble each other, so other samples' actions are right here too.",
    )


RULE = Rule(
    code="ED603",
    name="false-negatives",
    needs=("data.false_negative_rate",),
    optional=("data.policy_error",),
    evidence=("data.false_negative_rate", "data.policy_error"),
    thresholds={"rate": _RATE},
    judge=_judge,
    explains=("ED401",),
    fixes=("false-negative-filter", "debiased-loss"),
)
