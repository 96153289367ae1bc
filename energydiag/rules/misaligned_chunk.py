"""Misaligned chunk: the expert's chunk begins a step before or after the policy's.

## What it checks
By how much the policy's error shrinks when the expert's chunk is moved by one step, on the steps that both have.

## Why it is bad
The expert's action is then not the answer to this context but to the one a step away. A correction towards it delays
or hurries the robot.

## Example
The sample dump with every expert's chunk one step late: the policy's error is 4.6 % smaller (interval 2.3 to 6.6) when
it is moved back. As it was dumped, moving it makes the error 3.7 % larger.

## What to do
Count the steps of the chunk from the same frame that the context was taken at; look for an action that is recorded
after its observation.

## Known limits
A policy that has learned to lag behind its experts looks the same. In slow motion one step is no difference, and
nothing is seen.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import percent

_FALL = Threshold(0.01, "guess: beyond what the larger of two sides gains by chance")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    fall = given["data.chunk_misalignment"]
    if low(fall) <= _FALL.value:
        return None
    late, early = given.get("data.chunk_misalignment.late"), given.get("data.chunk_misalignment.early")
    way = ""
    if late is not None and early is not None:
        way = ", which lags behind" if late.value >= early.value else ", which runs ahead"
    return Judgement(
        "warning",
        f"The policy's error is {percent(fall.value)} smaller against the expert's chunk moved by one step{way}.",
        "Context and expert's chunk were cut from the recording at different steps.",
    )


RULE = Rule(
    code="ED608",
    name="misaligned-chunk",
    needs=("data.chunk_misalignment",),
    optional=("data.chunk_misalignment.late", "data.chunk_misalignment.early"),
    evidence=("data.chunk_misalignment", "data.chunk_misalignment.late", "data.chunk_misalignment.early"),
    thresholds={"fall": _FALL},
    judge=_judge,
    explains=("ED203", "ED401", "ED402"),
)
