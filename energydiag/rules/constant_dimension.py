"""Constant dimension: an action dimension never changes.

## What it checks
The number of action dimensions whose standard deviation over samples and steps is below a millionth of the largest
absolute action.

## Why it is bad
Any noise in that dimension gives a negative away, so the energy learns to look there and nowhere else; a correction
moves what must not move. Normalising by the standard deviation divides by nothing.

## Example
A gripper that stays closed through every recorded chunk: noise negatives are told by that dimension alone.

## What to do
Dump more varied samples; or leave the dimension out of the energy's action and of the noise.

## Known limits
In a small dump a dimension may be constant by chance.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule
from energydiag.rules.wording import number


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    constant, dimensions = given["data.constant_dimensions"], given["data.action_dimensions"].value
    if constant.value == 0:
        return None
    return Judgement(
        "warning",
        f"{number(constant.value)} of {number(dimensions)} action dimensions never change.",
        "The dimension is not used by these tasks, or was lost on its way into the dump.",
    )


RULE = Rule(
    code="ED605",
    name="constant-dimension",
    needs=("data.constant_dimensions", "data.action_dimensions"),
    evidence=("data.constant_dimensions", "data.action_dimensions"),
    thresholds={},
    judge=_judge,
)
