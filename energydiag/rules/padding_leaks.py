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
Hand `pad_mask` to every attention and leave hidden tokens out of every mean, in training and here. Where a score is
read at one position, find the last visible token of each sample: with left-padded sequences it is not at length − 1.

## Known limits
A mask that the model takes for its opposite leaks too; that has a finding of its own, which stands before this one.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import low
from energydiag.rules.inverted_mask import TURNED
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, percent

_RANKS = Threshold(0.8, "the design's healthy range for AUROC")
_EFFECT = Threshold(0.01, "guess: 1 % of the spread; rounding is thousands of times less")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    effect, share, auroc = (
        given.get(name) for name in ("conditioning.pad_effect", "conditioning.inverted_mask", "auroc.swap")
    )
    if effect is None or low(effect) <= _EFFECT.value:
        return None
    alone = share is not None and low(share) > TURNED.value
    poor = auroc is None or low(auroc) <= _RANKS.value
    return Judgement(
        "critical" if alone and poor else "warning",
        f"Noise in the hidden context tokens changes E by {number(effect.value)} of its spread"
        + (f", and they have {percent(share.value)} of the context's effect." if alone and share else "."),
        "The score is read at a position that holds padding, as the last token of a left-padded sequence, or the model "
        "was trained with an inverted mask."
        if alone
        else "The padding mask does not reach every place where tokens are mixed, or the score is read at a position "
        "that is padding in some samples.",
    )


RULE = Rule(
    code="ED504",
    name="padding-leaks",
    needs=("conditioning.pad_effect",),
    optional=("conditioning.inverted_mask", "conditioning.visible_effect", "auroc.swap"),
    evidence=("conditioning.pad_effect", "conditioning.visible_effect", "conditioning.inverted_mask"),
    thresholds={"effect": _EFFECT, "turned": TURNED, "ranks": _RANKS},
    judge=_judge,
    explains=(
        "ED201",
        "ED203",
        "ED207",
        "ED402",
    ),
)
