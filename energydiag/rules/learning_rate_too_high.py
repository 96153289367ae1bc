"""Learning rate too high: steps replace the weights, or the loss rises.

## What it checks
The median of ‖Δw‖/‖w‖ per step above 1e-1; or a loss that rose over the second half by more than a twentieth (the
lower end of the interval). Both together are critical.

## Why it is bad
Weights that change by a tenth at every step keep nothing; a bounded head is carried to where its slope is 0 and never
comes back.

## Example
`sample_checkpoints/runs/collapsed` was trained at .3: after ten steps every raw value is saturated, and the gradient
is exactly 0. Its log holds no ratio and a flat loss, so that run is found by its plateau at chance.

## What to do
A tenth of the rate (`lower-learning-rate`), with warm-up.

## Known limits
A loss also rises where negatives get harder or the temperature falls during training.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, with_interval

_RATIO = Threshold(1e-1, "a hundred times the usual 1e-3 (Karpathy, CS231n, ratio of weights to updates)")
_RISE = Threshold(0.05, "guess: a twentieth of the loss over the second half")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    rise, ratio = given["run.loss.rise"], given.get("run.update_ratio.median")
    rises = low(rise) > _RISE.value
    long = ratio is not None and ratio.value > _RATIO.value
    if not rises and not long:
        return None
    told = []
    if long and ratio is not None:
        told.append(f"a step changes the weights by {number(ratio.value)} of themselves")
    if rises:
        told.append(f"the loss rose by {with_interval(rise)} of itself over the second half")
    summary = " and ".join(told)
    return Judgement(
        "critical" if rises and long else "warning",
        f"{summary[0].upper()}{summary[1:]}.",
        "Steps are too long: they overshoot what the gradient promises.",
    )


RULE = Rule(
    code="ED710",
    name="learning-rate-too-high",
    needs=("run.loss.rise",),
    optional=("run.update_ratio.median", "run.learning_rate.peak"),
    evidence=("run.loss.rise", "run.update_ratio.median", "run.learning_rate.peak"),
    healthy={"run.loss.rise": "not above 0", "run.update_ratio.median": "about 1e-3"},
    thresholds={"ratio": _RATIO, "rise": _RISE},
    judge=_judge,
    explains=("ED703", "ED704", "ED707", "ED715"),
    fixes=("lower-learning-rate",),
)
