"""Energy explosion: energies differ so much that the softmax is a step, and every wrong pair costs a fortune.

## What it checks
The standard deviation of E over swap pairs divided by the temperature, in nat, and whether the loss is above chance.

## Why it is bad
At a hundred nat the softmax gives all its weight to one action, e^−100 to the others. Pairs that are right have no
gradient, a pair that is wrong has one of size 1/τ and costs its whole energy difference: a few of them are the loss.

## Example
The sample `healthy` with energies 200 times as large (or τ = .005): 984 nat. The expert's action still comes first in
.88 of the contexts, the softmax gives it .88 on average, and the loss is 11.7 instead of .45, chance being 4.16.

## What to do
Anchor the energies with an L2 term (`energy-anchor`), clip gradients (`clip-gradients`), lower the learning rate
(`lower-learning-rate`). At a temperature that is far below the energies' spread by mistake, correct that.

## Known limits
Energies over temperature is all that can be seen: a temperature given wrongly (`--tau`) looks the same. An energy that
ranks every pair rightly is not reported, however large it is.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number

_SPREAD = Threshold(
    100.0, "guess: one deviation away the weight is e^-100, and the smallest number of float32 is e^-103"
)
_RANKS = Threshold(0.8, "the design's healthy range for AUROC")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    spread, loss, chance = given["head.energy_spread"], given["loss.swap"], given["loss.swap.chance"].value
    if low(spread) <= _SPREAD.value or low(loss) <= chance:
        return None
    auroc = given.get("auroc.swap")
    ranks = auroc is not None and low(auroc) > _RANKS.value
    return Judgement(
        "warning" if ranks else "critical",
        f"Over the temperature, energies differ by {number(spread.value)} nat (standard deviation); the loss is "
        f"{number(loss.value)}, chance {number(chance)}.",
        "Energies grew without a limit, or the temperature is far too low for them; a few wrong pairs are the loss.",
    )


RULE = Rule(
    code="ED108",
    name="energy-explosion",
    needs=("head.energy_spread", "loss.swap", "loss.swap.chance"),
    optional=("auroc.swap",),
    evidence=("head.energy_spread", "loss.swap", "loss.swap.chance"),
    thresholds={"spread": _SPREAD, "ranks": _RANKS},
    judge=_judge,
    explains=(
        "ED201",
        "ED205",
        "ED302",
        "ED718",
    ),
    fixes=("energy-anchor", "clip-gradients", "lower-learning-rate"),
)
