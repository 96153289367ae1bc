"""Dead head: the slope of the energy's activation is exactly zero, so no gradient exists at all.

## What it checks
The share of (context, action) pairs whose activation slope is exactly 0 in the model's own arithmetic. In float32 a
sigmoid reaches that at raw > 16.64, a `2·sigmoid(r/2)` at raw > 33.27, in bfloat16 at 6.25 and 12.5 already.

## Why it is bad
A zero slope is not a small gradient but none: neither the loss nor the action can move such a pair, and more training
with the same head and weights changes nothing.

## Example
One step with a learning rate thirty times too high drives every raw value to +20; the loss then reads log(64) = 4.159
to the last digit for ever.

## What to do
Re-initialise the last layer (`reinitialise-last-layer`) and take an unbounded head (`linear-head`); lower the learning
rate and clip gradients, so that it does not happen again.

## Known limits
A relu at the end has zero slope by design on one side; it is reported all the same, since nothing trains there.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import percent

_WARNING = Threshold(0.01, "guess: healthy is exactly 0; one pair in a hundred is no accident of one sample")
_CRITICAL = Threshold(0.50, "guess: most pairs get no gradient")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    share = given["head.zero_slope_fraction"].value
    if share <= _WARNING.value:
        return None
    high = given.get("head.slope_saturated_fraction.high")
    low = given.get("head.slope_saturated_fraction.low")
    side = ""
    if high is not None and low is not None:
        side = " at the upper end" if high.value > low.value else " at the lower end"
    return Judgement(
        "critical" if share > _CRITICAL.value else "warning",
        f"{percent(share)} of the raw values sit{side} where the head's slope is exactly 0: no gradient passes.",
        "Raw values were driven so far out that the slope rounds to zero; training cannot bring them back.",
    )


RULE = Rule(
    code="ED102",
    name="dead-head",
    needs=("head.zero_slope_fraction",),
    optional=("head.slope_saturated_fraction.low", "head.slope_saturated_fraction.high"),
    evidence=("head.zero_slope_fraction",),
    healthy={"head.zero_slope_fraction": "0"},
    thresholds={"warning": _WARNING, "critical": _CRITICAL},
    judge=_judge,
    explains=("ED101", "ED103", "ED201", "ED202", "ED203", "ED301", "ED303", "ED304"),
    fixes=("reinitialise-last-layer", "linear-head", "lower-learning-rate"),
)
