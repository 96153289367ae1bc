"""Inverted energies: the expert's action has the higher energy, so descending goes the wrong way.

## What it checks
AUROC against swap negatives below .5, and a mean gap of at least half a standard deviation the wrong way: both by
their whole 95 % intervals. Where AUROC is below .4, a tenth of a standard deviation is enough: a few far energies may
widen the spread without changing an order.

## Why it is bad
Everything that uses the energy (ranking, correction) does the opposite of what it should, with full confidence.

## Example
Logits built as `E / tau` instead of `-E / tau`: the loss falls beautifully, AUROC is .03.

## What to do
If the model gives a score (high = good), say so with `--sign score`. Otherwise turn the sign in the loss and negate
the output (`negate-sign`): nothing has to be learned again.

## Known limits
An inversion with next to no gap is taken for chance: models that learned nothing had AUROCs down to .25 with none.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule
from energydiag.rules.sign import AUROC, GAP, SMALL_GAP, inverted
from energydiag.rules.wording import number, with_interval


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    auroc, gap = given["auroc.swap"], given["gap_std.swap"]
    if not inverted(auroc, gap):
        return None
    return Judgement(
        "critical",
        f"Expert actions have higher energy than other samples' actions: AUROC {with_interval(auroc)}, "
        f"standardised gap {number(gap.value)}.",
        "The sign of the energy is inverted in the loss, or the model gives a score where high means good.",
    )


RULE = Rule(
    code="ED202",
    name="inverted-energies",
    needs=("auroc.swap", "gap_std.swap"),
    optional=("gap.swap",),
    evidence=("auroc.swap", "gap_std.swap", "gap.swap"),
    thresholds={"gap": GAP, "AUROC": AUROC, "small gap": SMALL_GAP},
    judge=_judge,
    explains=(
        "ED101",
        "ED102",
        "ED203",
        "ED301",
        "ED302",
        "ED401",
        "ED402",
        "ED701",
        "ED706",
    ),
    fixes=("negate-sign",),
)
