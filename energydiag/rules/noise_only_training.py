"""Ranks noise alone: the energy tells noised actions, but not other contexts' actions.

## What it checks
AUROC against the expert's action with noise of .15 is high, while that against other samples' actions, which lie
farther off, is lower and poor. Where a log is there and its InfoNCE stayed at chance, training did compare with
something that it could not tell, and nothing is said.

## Why it is bad
Noise shows in the action alone: it is rough where an expert is smooth. An energy that was asked for nothing else learns
what any expert's action looks like, and takes the right action of another situation for right here.

## Example
An energy of the action's roughness alone: noise makes every action rougher, so AUROC against it is near 1. The same
energy ranks an action alike in every context, so its AUROC over swap pairs is .5 exactly.

## What to do
Mix negatives from other contexts with the near ones (`mixed-negatives`).

## Known limits
What was measured is the ranking; which negatives training had is a guess from it. An energy that the context does not
reach looks the same whatever it was trained with; that has a finding of its own, which stands before this one.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import high, low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.sign import inverted
from energydiag.rules.wording import with_interval

_NOISE = Threshold(0.8, "the design's healthy range for AUROC")
_SWAP = Threshold(0.85, "calibrated on the fault benchmark: .79 where noise was all, .98 and more in healthy models")
_CRITICAL = Threshold(0.6, "guess: closer to chance than to the healthy range")
_LEARNED = Threshold(0.05, "plateau-at-chance's: a loss over noise alone is far below chance where noise is told")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    noise, swap = given["auroc.noise_0.15"], given["auroc.swap"]
    if low(noise) <= max(_NOISE.value, high(swap)) or high(swap) >= _SWAP.value:
        return None
    if inverted(swap, given.get("gap_std.swap")):  # another rule's finding
        return None
    learned = given.get("run.chance_gap")
    if learned is not None and high(learned) < _LEARNED.value:
        return None
    return Judgement(
        "critical" if high(swap) < _CRITICAL.value else "warning",
        f"The energy ranks noised actions (AUROC {with_interval(noise)}), not other contexts' actions "
        f"({with_interval(swap)}).",
        "Training may have compared the expert's action with noisy copies of itself and not with other contexts' "
        "actions, or the context hardly reaches the energy.",
    )


RULE = Rule(
    code="ED207",
    name="ranks-noise-alone",
    needs=("auroc.noise_0.15", "auroc.swap"),
    optional=("top1.swap", "top1.swap.chance", "gap_std.swap", "run.chance_gap"),
    evidence=("auroc.noise_0.15", "auroc.swap", "top1.swap", "top1.swap.chance"),
    thresholds={"noise": _NOISE, "swap": _SWAP, "critical": _CRITICAL, "learned": _LEARNED},
    judge=_judge,
    explains=("ED201",),
    fixes=("mixed-negatives",),
)
