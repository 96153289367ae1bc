"""Dead head: the slope of the energy's activation is zero, exactly or to within rounding, so no gradient passes.

## What it checks
The share of (context, action) pairs whose activation slope is 0 in the model's own arithmetic, exactly or to within
rounding. In float32 a sigmoid's slope is exactly 0 at raw > 16.64, that of `2·sigmoid(r/2)` at 33.27, in bfloat16 at
6.25 and 12.5 already. At the lower end the slope only becomes so small that nothing is left of it (1e-7 of the steepest
and less); that counts as dead too.

## Why it is bad
A zero slope is not a small gradient but none: neither the loss nor the action can move such a pair, and more training
with the same head and weights changes nothing.

## Example
A learning rate three hundred times too high drives every raw value to +299 within ten steps; the loss then reads
log(64) = 4.159 to the last digit for ever.

## What to do
Take an unbounded head (`linear-head`) and train it from fresh weights (`fresh-weights`), or from a fresh last layer
alone (`reinitialise-last-layer`) where what lies below is worth keeping; lower the learning rate
(`lower-learning-rate`) and clip gradients, so that it does not happen again.

## Known limits
A relu at the end has zero slope by design on one side; it is reported all the same, since nothing trains there.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import percent

_WARNING = Threshold(0.01, "guess: healthy is exactly 0; one pair in a hundred is no accident of one sample")
_CRITICAL = Threshold(0.50, "guess: most pairs get no gradient")


def _low(measurement: Measurement) -> float:
    return measurement.ci95[0] if measurement.ci95 else measurement.value


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    exact = given["head.zero_slope_fraction"].value
    worst = max((m for m in (given["head.zero_slope_fraction"], given.get("head.dead_slope_fraction")) if m), key=_low)
    share = worst.value
    if _low(worst) <= _WARNING.value:
        return None
    high = given.get("head.slope_saturated_fraction.high")
    low = given.get("head.slope_saturated_fraction.low")
    side = ""
    if high is not None and low is not None:
        side = " at the upper end" if high.value > low.value else " at the lower end"
    return Judgement(
        "critical" if _low(worst) > _CRITICAL.value else "warning",
        f"{percent(share)} of the raw values sit{side} where the head's slope is 0 to within rounding "
        f"({percent(exact)} exactly): no gradient passes.",
        "Raw values were driven so far out that the slope rounds to zero; training cannot bring them back.",
    )


RULE = Rule(
    code="ED102",
    name="dead-head",
    needs=("head.zero_slope_fraction",),
    optional=("head.dead_slope_fraction", "head.slope_saturated_fraction.low", "head.slope_saturated_fraction.high"),
    evidence=("head.zero_slope_fraction", "head.dead_slope_fraction"),
    thresholds={"warning": _WARNING, "critical": _CRITICAL},
    judge=_judge,
    explains=(
        "ED101",
        "ED201",
        "ED203",
        "ED206",
        "ED207",
        "ED301",
        "ED303",
        "ED304",
        "ED401",
        "ED402",
        "ED403",
        "ED501",
        "ED502",
        "ED701",
        "ED706",
    ),
    fixes=("linear-head", "fresh-weights", "reinitialise-last-layer", "lower-learning-rate"),
)
