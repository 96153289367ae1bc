"""Learning rate too high: steps replace the weights, or the loss rises.

## What it checks
The median of ‖Δw‖/‖w‖ per step above 1e-1; a first step of more than .3 of the weights after which the loss did not
fall; or a loss that rose over the second half by more than a twentieth (the lower end of the interval). Steps that long
and a loss that rose or never fell are critical.

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
_FIRST = Threshold(
    0.3,
    "calibrated on the fault benchmark: .51 to .96 where thirty times too high, .16 and below where a model learned",
)
_FALL = Threshold(
    0.2, "calibrated on the fault benchmark: .18 and less where thirty times too high, .33 and more in healthy runs"
)
_RISE = Threshold(0.05, "guess: a twentieth of the loss over the second half")
_OF_FIRST = Threshold(0.02, "heuristic: a rise below a fiftieth of the first loss is noise of a loss that is nearly 0")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    rise, ratio = given["run.loss.rise"], given.get("run.update_ratio.median")
    first, fall = given.get("run.update_ratio.first"), given.get("run.loss.fall")
    left = 1.0 if fall is None else max(1 - fall.value, 0.0)  # the last loss over the first
    rises = low(rise) > _RISE.value and rise.value * left > _OF_FIRST.value
    long = ratio is not None and ratio.value > _RATIO.value
    thrown = first is not None and fall is not None and first.value > _FIRST.value and low(fall) < _FALL.value
    if not rises and not long and not thrown:
        return None
    told = []
    if thrown and first is not None:
        told.append(
            f"the first step changed the weights by {number(first.value)} of themselves, and the loss never fell"
        )
    if long and ratio is not None:
        told.append(f"a step changes the weights by {number(ratio.value)} of themselves")
    if rises:
        told.append(f"the loss rose by {with_interval(rise)} of itself over the second half")
    summary = " and ".join(told)
    return Judgement(
        "critical" if thrown or (rises and long) else "warning",
        f"{summary[0].upper()}{summary[1:]}.",
        "Steps are too long: they overshoot what the gradient promises.",
    )


RULE = Rule(
    code="ED710",
    name="learning-rate-too-high",
    needs=("run.loss.rise",),
    optional=("run.update_ratio.median", "run.update_ratio.first", "run.loss.fall", "run.learning_rate.peak"),
    evidence=("run.loss.rise", "run.update_ratio.median", "run.update_ratio.first", "run.learning_rate.peak"),
    thresholds={"ratio": _RATIO, "first": _FIRST, "fall": _FALL, "rise": _RISE, "of the first loss": _OF_FIRST},
    judge=_judge,
    explains=(
        "ED102",
        "ED106",
        "ED201",
        "ED203",
        "ED301",
        "ED303",
        "ED306",
        "ED308",
        "ED309",
        "ED311",
        "ED501",
        "ED502",
        "ED509",
        "ED701",
        "ED703",
        "ED704",
        "ED705",
        "ED707",
        "ED709",
        "ED711",
        "ED715",
        "ED720",
    ),
    fixes=("lower-learning-rate",),
)
