"""Policy preferred: the energy does not rank the expert's action above the policy's own.

## What it checks
The share of samples whose expert action has lower energy than the policy's action. At .5 or below, with the whole
95 % interval, the energy cannot improve the policy that it stands on.

## Why it is bad
Correction starts at the policy's action. If that has the lower energy, a step that follows the energy leads away from
the expert. AUROC against swap negatives says nothing about it: those are far away, this is near.

## Example
AUROC against swap negatives .95, expert ranked above the policy in .45 of the samples.

## What to do
Train against near negatives as well: every layer's actions and noise mixed with swap negatives (`mixed-negatives`),
negatives found by descending the energy (`adversarial-negatives`), an alignment loss (`alignment-loss`), and a ranking
of actions by their distance to the expert's (`distance-ranking`).

## Known limits
Where the policy is as good as the expert, no energy can prefer the expert; compare with the policy's error.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule
from energydiag.rules.wording import with_interval


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    share = given["auroc.policy"]
    low, high = share.ci95 or (share.value, share.value)
    if low > 0.5:
        return None
    worse = high < 0.5
    return Judgement(
        "critical" if worse else "warning",
        f"The expert's action has lower energy than the policy's in {with_interval(share)} of the samples"
        + (": the policy's own action is preferred." if worse else ": no better than a coin."),
        "Nothing in training made the energy fall towards the expert near the policy's action.",
    )


RULE = Rule(
    code="ED203",
    name="policy-preferred",
    needs=("auroc.policy",),
    evidence=("auroc.policy",),
    thresholds={},
    judge=_judge,
    symptom=True,
    explains=("ED401", "ED402"),
    fixes=("mixed-negatives", "adversarial-negatives", "alignment-loss", "distance-ranking"),
)
