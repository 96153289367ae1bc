"""Padding leaks: hidden context tokens change the energy.

## What it checks
The change of E when the hidden tokens hold noise as large as the visible ones, in units of the standard deviation of E
over swap pairs. Where the mask works it is 0 exactly.

## Why it is bad
What stands in padded places is chance: zeros here, another batch's remains there. The same sample gets another energy
in a batch of another length.

## Example
The sample `healthy` called without its mask: noise in the hidden tokens moves E by 1.65 of its spread. AUROC is .997
all the same: what this dump holds in those places does no harm, and nothing else shows the fault.

## What to do
Hand `pad_mask` to every attention and leave hidden tokens out of every mean, in training and here.

## Known limits
A mask that the model takes upside down leaks too; that has a finding of its own.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import low
from energydiag.rules.inverted_mask import TURNED
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number

_EFFECT = Threshold(0.01, "guess: 1 % of the spread; rounding is thousands of times less")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    effect, turned = given["conditioning.pad_effect"], given.get("conditioning.inverted_mask")
    if low(effect) <= _EFFECT.value or (turned is not None and low(turned) > TURNED.value):
        return None
    return Judgement(
        "warning",
        f"Noise in the hidden context tokens changes E by {number(effect.value)} of its spread.",
        "The padding mask does not reach every place where tokens are mixed.",
    )


RULE = Rule(
    code="ED504",
    name="padding-leaks",
    needs=("conditioning.pad_effect",),
    optional=("conditioning.inverted_mask", "conditioning.visible_effect"),
    evidence=("conditioning.pad_effect", "conditioning.visible_effect"),
    thresholds={"effect": _EFFECT, "turned": TURNED},
    judge=_judge,
    explains=(
        "ED201",
        "ED203",
        "ED207",
        "ED402",
        "ED404",
    ),
)
