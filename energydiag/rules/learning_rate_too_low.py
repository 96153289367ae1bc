"""Learning rate too low: steps are so short that the loss hardly moves.

## What it checks
The median of ‖Δw‖/‖w‖ per step below 1e-5, above 0, and a loss that fell by less than a twentieth.

## Why it is bad
Arithmetic: a thousand steps of 1e-6 in one direction change the weights by a thousandth. The log looks like a plateau.

## Example
AdamW at 1e-7 on weights of size .1: every step changes them by a millionth.

## What to do
Raise the learning rate tenfold until the ratio is about 1e-3 (`cosine-schedule` does so on a head of width 64); check
that warm-up ends.

## Known limits
Needs the ratio in the log. A fine-tuned model may have finished moving: then the loss is low, and no fault.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import high
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, with_interval

_RATIO = Threshold(1e-5, "a hundredth of the usual 1e-3 (Karpathy, CS231n, ratio of weights to updates)")
_FALL = Threshold(0.05, "guess: a twentieth of the loss")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    ratio, fall = given["run.update_ratio.median"].value, given["run.loss.fall"]
    if not 0 < ratio < _RATIO.value or high(fall) >= _FALL.value:
        return None
    return Judgement(
        "warning",
        f"A step changes the weights by {number(ratio)} of themselves, and the loss fell by {with_interval(fall)} of "
        "itself.",
        "The learning rate is too low for this number of steps, or warm-up has not ended.",
    )


RULE = Rule(
    code="ED709",
    name="learning-rate-too-low",
    needs=("run.update_ratio.median", "run.loss.fall"),
    optional=("run.learning_rate.peak", "run.learning_rate.warmup"),
    evidence=("run.update_ratio.median", "run.loss.fall", "run.learning_rate.peak", "run.learning_rate.warmup"),
    thresholds={"ratio": _RATIO, "fall": _FALL},
    judge=_judge,
    explains=(
        "ED201",
        "ED202",
        "ED203",
        "ED206",
        "ED207",
        "ED309",
        "ED402",
        "ED403",
        "ED501",
        "ED701",
        "ED706",
    ),
)
