"""Inverted energies: the expert's action has the higher energy, so descending goes the wrong way.

## What it checks
AUROC against swap negatives significantly below .5, and a mean gap of at least half a standard deviation the wrong way
round: both by their whole 95 % intervals.

## Why it is bad
Everything that uses the energy (ranking, correction) does the opposite of what it should, with full confidence.

## Example
Logits built as `E / tau` instead of `-E / tau`: the loss falls beautifully, AUROC is .03.

## What to do
If the model gives a score (high = good), say so with `--sign score`. Otherwise turn the sign in the loss and negate
the output (`negate-sign`): nothing has to be learned again.

## Known limits
An inversion of less than half a standard deviation is taken for chance: models that learned nothing had AUROCs down to
.25 with next to no gap.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule
from energydiag.rules.sign import GAP, turned_round
from energydiag.rules.wording import number, with_interval


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    auroc, gap = given["auroc.swap"], given["gap_std.swap"]
    if not turned_round(auroc, gap):
        return None
    return Judgement(
        "critical",
        f"Expert actions have higher energy than other samples' actions: AUROC {with_interval(auroc)}, "
        f"standardised gap {number(gap.value)}.",
        "The sign of the energy is turned round in the loss, or the model gives a score where high means good.",
    )


RULE = Rule(
    code="ED202",
    name="inverted-energies",
    needs=("auroc.swap", "gap_std.swap"),
    optional=("gap.swap",),
    evidence=("auroc.swap", "gap_std.swap", "gap.swap"),
    thresholds={"gap": GAP},
    judge=_judge,
    explains=(
        "ED101",
        "ED102",
        "ED203",
        "ED301",
        "ED302",
        "ED401",
        "ED402",
        "ED404",
        "ED701",
        "ED706",
    ),
    fixes=("negate-sign",),
)
