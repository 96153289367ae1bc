"""Misaligned chunk: the expert's chunk begins a step before or after the policy's.

## What it checks
Three things together, in which other units, offsets and signs of the policy's actions make no difference: the policy's
error shrinks when the expert's chunk is moved by one step; the weights with which the policy follows the expert's steps
lie to that side of the same step; and they lie around the step beside it, not between the two.

## Why it is bad
The expert's action is then not the answer to this context but to the one a step away. A correction towards it delays
or hurries the robot.

## Example
The sample dump with every expert's chunk one step early: the policy's error is 5.2 % smaller (interval 4.0 to 6.3) when
it is moved back, and the expert runs .67 of a step ahead (.47 to .86). As it was dumped, moving it makes the error
1.1 % larger.

## What to do
Count the steps of the chunk from the same frame that the context was taken at; look for an action that is recorded
after its observation.

## Known limits
A policy that is smooth, or lags behind its experts by a part of a step, is told apart; one that lags by a whole step or
more looks the same as a chunk that was moved. A weak policy that hardly follows single steps shows nothing, nor does
slow motion, in which one step is no difference. A shift inside the model leaves no trace in the dump.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import at_least, low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, percent

_FALL = Threshold(0.01, "guess: beyond what the larger of two sides gains by chance")
_LAG = Threshold(
    0.25, "heuristic: the ends of a chunk hide a part of a whole step; chunks that were moved had .4 to 1.2 steps"
)
_BETWEEN = Threshold(0.2, "heuristic: a policy that lags by .7 of a step has .3, a chunk that was moved at most 0")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    fall, lag, between = (given[f"data.chunk_{name}"] for name in ("misalignment", "lag", "lag.between"))
    late, early = given.get("data.chunk_misalignment.late"), given.get("data.chunk_misalignment.early")
    if low(fall) <= _FALL.value or at_least(lag) <= _LAG.value or between.value > _BETWEEN.value:
        return None
    if late is not None and early is not None and (late.value >= early.value) != (lag.value > 0):
        return None
    way = "lags behind" if lag.value > 0 else "runs ahead"
    return Judgement(
        "warning",
        f"The policy's error is {percent(fall.value)} smaller against the expert's chunk moved by one step, and the "
        f"expert's chunk {way} by {number(abs(lag.value))} steps.",
        "Context and expert's chunk were cut from the recording at different steps.",
    )


RULE = Rule(
    code="ED608",
    name="misaligned-chunk",
    needs=("data.chunk_misalignment", "data.chunk_lag", "data.chunk_lag.between"),
    optional=("data.chunk_misalignment.late", "data.chunk_misalignment.early"),
    evidence=(
        "data.chunk_misalignment",
        "data.chunk_lag",
        "data.chunk_misalignment.late",
        "data.chunk_misalignment.early",
    ),
    thresholds={"fall": _FALL, "lag": _LAG, "between": _BETWEEN},
    judge=_judge,
    explains=("ED203", "ED401", "ED402"),
)
