"""Accumulating gradients: every logged gradient is longer than the one before, as if they were never set to zero.

## What it checks
The share of the steps from one logged gradient norm to the next in which it did not fall, the norm at the end over the
first one, and whether the loss fell.

## Why it is bad
Without `zero_grad` a step follows the sum of all gradients since the start. Old ones, computed for other weights, soon
outweigh the new one; the weights run on in the old direction and cannot turn back.

## Example
Without `zero_grad` and clipping the norm of an attention head's gradient rises in 92 % of the logged steps, from 5.5 to
490, while the loss stays where it was. An MLP's stops at 72, digit by digit: its head died, and the sum stays. Sound
runs rise in about half of the steps.

## What to do
Call `optimizer.zero_grad()` before every `backward()`. Where gradients of several batches are summed on purpose, call
it after every optimiser step, and divide the loss by their number.

## Known limits
Needs the gradient's norm before clipping. A fault that lets the loss fall is not seen, nor one in which the log's
points lie so close that a single batch outweighs the sum. Growth without this order is a finding of its own.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, percent

_RISES = Threshold(
    0.75, "calibrated on the fault benchmark: healthy at most 0.63, other faults 0.67, without zero_grad at least 0.83"
)
_GROWTH = Threshold(10.0, "calibrated on the fault benchmark: healthy at most 8, without zero_grad at least 11")
_FALL = Threshold(0.2, "calibrated on the fault benchmark: healthy at least 0.37, without zero_grad at most 0.01")
_POINTS = Threshold(20, "guess: of twenty falls and rises of equal chance, fifteen and more rise one time in fifty")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    rises, growth, fall = (given[f"run.{n}"] for n in ("gradient.rises", "gradient.growth_from_start", "loss.fall"))
    if rises.n < _POINTS.value or low(fall) >= _FALL.value:
        return None
    if rises.value <= _RISES.value or growth.value <= _GROWTH.value:
        return None
    return Judgement(
        "critical",
        f"The gradient's norm did not fall in {percent(rises.value)} of the logged steps and ends at "
        f"{number(growth.value)} times the first one, while the loss fell by {number(fall.value)} of itself.",
        "Gradients of all steps add up: `zero_grad` is missing.",
    )


RULE = Rule(
    code="ED717",
    name="accumulating-gradients",
    needs=("run.gradient.rises", "run.gradient.growth_from_start", "run.loss.fall"),
    optional=("run.gradient.norm.last",),
    evidence=("run.gradient.rises", "run.gradient.growth_from_start", "run.gradient.norm.last", "run.loss.fall"),
    thresholds={"rises": _RISES, "growth": _GROWTH, "fall": _FALL, "points": _POINTS},
    judge=_judge,
    explains=(
        "ED101",
        "ED102",
        "ED105",
        "ED106",
        "ED108",
        "ED201",
        "ED203",
        "ED302",
        "ED303",
        "ED308",
        "ED701",
        "ED702",
        "ED703",
        "ED704",
        "ED705",
        "ED706",
        "ED707",
        "ED710",
        "ED711",
        "ED713",
        "ED715",
    ),
)
