"""All padded: samples whose whole context is hidden.

## What it checks
The share of samples in which `pad_mask` hides every context token.

## Why it is bad
Attention over nothing is NaN, or a constant: the energy of such a sample does not depend on its context. Here these
samples were left out of every other measurement.

## Example
An attention mask (True = visible) dumped as a padding mask (True = hidden): full contexts become empty ones.

## What to do
If it is most samples, the mask is turned round: dump it as `attention_mask`. If it is a few, drop them.

## Known limits
A mask that is turned round and never full is not seen by this rule.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule
from energydiag.rules.wording import percent


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    share = given["data.all_padded_fraction"]
    if share.value == 0:
        return None
    return Judgement(
        "warning",
        f"{round(share.value * share.n)} of {share.n} samples ({percent(share.value)}) have their whole context "
        "hidden; they were left out.",
        "The padding mask is wrong for these samples, or turned round.",
    )


RULE = Rule(
    code="ED602",
    name="all-padded",
    needs=("data.all_padded_fraction",),
    evidence=("data.all_padded_fraction",),
    thresholds={},
    judge=_judge,
)
