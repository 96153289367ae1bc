"""Sparse log: too few points to tell anything.

## What it checks
The number of steps at which a finite loss was logged.

## Why it is bad
Trends need eight points in the second half, averages over the end need ten. With fewer, most rules here are not asked,
and "no fault found" would say nothing. That is why this is a warning and not a note.

## Example
A run of 1000 steps that logs every hundredth has 11 rows. `sample_checkpoints/runs/collapsed` has 21, just enough.

## What to do
Log more often: a row every hundredth part of the run costs nothing. Meanwhile, inspect the checkpoint.

## Known limits
Twenty points of a very noisy loss still say little; look at the intervals.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule, Threshold

_POINTS = Threshold(20, "ten for the end of the log, which is no more than half of it")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    points = given["run.points"]
    if points.value >= _POINTS.value:
        return None
    return Judgement(
        "warning",
        f"The log holds {points.value:.0f} finite values of the loss; trends need {_POINTS.value:.0f}.",
        "The run was short, ended early, or was logged too seldom.",
    )


RULE = Rule(
    code="ED712",
    name="sparse-log",
    needs=("run.points",),
    optional=("run.steps",),
    evidence=("run.points", "run.steps"),
    thresholds={"points": _POINTS},
    judge=_judge,
)
