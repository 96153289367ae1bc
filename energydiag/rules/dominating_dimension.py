"""Dominating dimension: one action dimension takes most of the action gradient.

## What it checks
The largest dimension's share of the squared gradient ∂E/∂a, averaged over samples, against three times an equal share
(3/A for A dimensions).

## Why it is bad
A normalised correction step then moves that dimension alone. For a binary gripper it moves the one thing that must not
be moved a little.

## Example
A = 7, gripper share .81: corrected steps open and close the hand and leave the arm where it was.

## What to do
`alignment-loss` spreads the gradient over the dimensions in which actions err. For a next training, normalise the
actions by dimension in the data; that cannot be done to a trained model.

## Known limits
Where the policy errs in one dimension only, that one should dominate. With three dimensions or fewer the rule is
silent.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, percent

_TIMES_EQUAL = Threshold(3.0, "the design's healthy range for a gripper")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    share, dimensions = given["gradient.actions.share_max"], given["data.action_dimensions"].value
    limit = _TIMES_EQUAL.value / dimensions
    if limit >= 1 or (share.ci95[0] if share.ci95 else share.value) <= limit:
        return None
    return Judgement(
        "warning",
        f"One of {number(dimensions)} action dimensions takes {percent(share.value)} of the gradient "
        f"(an equal share is {percent(1 / dimensions)}).",
        "That dimension has another scale, or alone tells positives from negatives.",
    )


RULE = Rule(
    code="ED304",
    name="dominating-dimension",
    needs=("gradient.actions.share_max", "data.action_dimensions"),
    evidence=("gradient.actions.share_max",),
    thresholds={"times an equal share": _TIMES_EQUAL},
    judge=_judge,
    symptom=True,
    fixes=("alignment-loss",),
)
