"""Easy negatives: far actions are told apart, near ones are not.

## What it checks
AUROC against swap negatives is high, and that against the policy's action is near chance, while the expert's action
with noise of .05 is told less than reliably too. Without the policy's action in the dump, the noise alone must be near
chance.

## Why it is bad
Other samples' actions are easy to tell, so their loss falls to nearly nothing and teaches no more. The energy is used
on candidates beside the expert's action, where nothing shaped it.

## Example
The sample `original`, trained with in-batch negatives alone: AUROC .98 against other contexts' actions, .46 against
the policy's and .60 against noise of .05.

## What to do
Mix every layer's actions and noise with the other samples' (`mixed-negatives`); add the places where descents of the
energy end (`adversarial-negatives`) and typical mistakes (`structured-negatives`).

## Known limits
Where the policy is as good as the expert, no energy can tell the two; that is why noise must be missed as well. Noise
is in action units, .05 for actions scaled to [-1, 1].
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import high, low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import with_interval

_FAR = Threshold(0.75, "calibrated on the fault benchmark: .72 to .93 where one far negative a step was all")
_NEAR = Threshold(0.6, "guess: closer to chance than to the design's healthy 0.8")
_NOISE = Threshold(0.9, "guess: a model that tells small noise as well as far actions was taught near ones")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    far, noise, policy = given["auroc.swap"], given["auroc.noise_0.05"], given.get("auroc.policy")
    near = noise if policy is None else policy
    if low(far) <= _FAR.value or high(near) >= _NEAR.value or high(noise) >= _NOISE.value:
        return None
    what = "small noise" if policy is None else "the policy's action"
    return Judgement(
        "warning",
        f"AUROC against other samples' actions is {with_interval(far)}, against {what} {with_interval(near)}.",
        "The negatives of training were far from the expert's action; what lies near it was never compared.",
    )


RULE = Rule(
    code="ED206",
    name="easy-negatives",
    needs=("auroc.swap", "auroc.noise_0.05"),
    optional=("auroc.policy", "npc.swap"),
    evidence=("auroc.swap", "auroc.policy", "auroc.noise_0.05", "npc.swap"),
    thresholds={"far": _FAR, "near": _NEAR, "noise": _NOISE},
    judge=_judge,
    symptom=True,
    explains=("ED203", "ED401", "ED402"),
    fixes=("mixed-negatives", "adversarial-negatives", "structured-negatives"),
)
