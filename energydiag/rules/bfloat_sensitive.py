"""Sensitive to bfloat16: in half precision the energy ranks worse.

## What it checks
What weights and inputs in bfloat16 cost in AUROC against swap negatives, on one swap set.

## Why it is bad
Policies run in bfloat16, and a head that is built into one is soon cast with it. Energies that lie close together
beside their size then become ties, and gradients steps.

## Example
The sample `healthy` with 10000 added to every energy: numbers there are 64 apart in bfloat16, while the energies differ
by 4.9. Nearly all are ties, and AUROC falls from .998 to .5.

## What to do
Keep the head in float32 (it is small beside the policy) and out of autocast. If energies have drifted far from zero,
mend that first.

## Known limits
Ranks of far actions suffer last: near ones and the gradient may be hurt before this shows.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, with_interval

_DROP = Threshold(0.01, "guess: AUROC, beyond what rounding does to a few pairs")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    drop, shift = given["conditioning.bf16_auroc_drop"], given.get("conditioning.bf16_shift")
    if low(drop) <= _DROP.value:
        return None
    moved = f"; energies move by {number(shift.value)} of their spread" if shift is not None else ""
    return Judgement(
        "warning",
        f"In bfloat16 AUROC is {with_interval(drop)} lower{moved}.",
        "Energies differ by too little beside their size, or the model adds up large numbers.",
    )


RULE = Rule(
    code="ED508",
    name="bfloat-sensitive",
    needs=("conditioning.bf16_auroc_drop",),
    optional=("conditioning.bf16_shift",),
    evidence=("conditioning.bf16_auroc_drop", "conditioning.bf16_shift"),
    thresholds={"drop": _DROP},
    judge=_judge,
    symptom=True,
)
