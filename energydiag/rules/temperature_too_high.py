"""Temperature too high: the softmax is nearly uniform although the energies rank rightly.

## What it checks
Three things together: AUROC against swap negatives is good; the expert's share of the softmax is less than half of the
share of contexts in which its action comes first; and the loss is above what a model would have that knew nothing but
its favourite and how often that is right, −t·log t − (1 − t)·log((1 − t)/N) for top-1 t and N negatives.

## Why it is bad
All negatives then get about the same gradient, near ones no more than far ones, and the loss is high and hardly moves,
whatever the model learns. An energy with a range is driven to its ends.

## Example
The sample `healthy` at τ = 50: the expert's action comes first in .88 of the contexts and gets .022 of the softmax,
which lies over 62.8 of 63 negatives. The loss is 3.82, chance is 4.16, and at τ = 1 it is .45. A sigmoid head at τ = 5
cannot do better than p₊ = 1/(1 + 63·e^(−1/5)) = .019.

## What to do
Lower it (`lower-temperature`), or let it be learned (`clamped-temperature`) or follow the gap
(`adaptive-temperature`). Give the temperature of training with `--tau` if the assumed one is wrong.

## Known limits
Energies that are still small early in training look the same; so does a head whose range is too narrow, which has a
finding of its own. What counts is energies over temperature.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.confidence import honest_loss
from energydiag.rules.ends import low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number

_RANKS = Threshold(0.8, "the design's healthy range for AUROC")
_UNSURE = Threshold(0.5, "guess: the softmax trusts its favourite less than half as much as it deserves")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    loss, top1, coupling = given["loss.swap"], given["top1.swap"], given["npc.swap"]
    sure = 1 - low(coupling)
    honest = honest_loss(top1, given["top1.swap.chance"])
    if low(given["auroc.swap"]) <= _RANKS.value or sure >= _UNSURE.value * low(top1) or low(loss) <= honest:
        return None
    effective, others = given.get("effective_negatives.swap"), 1 / given["top1.swap.chance"].value - 1
    spread = f", spread over {number(effective.value)} of {number(others)} negatives" if effective is not None else ""
    return Judgement(
        "warning",
        f"The expert's action comes first in {number(top1.value)} of the contexts, but gets "
        f"{number(1 - coupling.value)} of the softmax{spread}; the loss is {number(loss.value)} "
        f"where {number(honest)} would do.",
        "The temperature is too high for the energies' differences, so the softmax is nearly uniform.",
    )


RULE = Rule(
    code="ED204",
    name="temperature-too-high",
    needs=("loss.swap", "npc.swap", "top1.swap", "top1.swap.chance", "auroc.swap"),
    optional=("effective_negatives.swap", "loss.swap.chance"),
    evidence=("loss.swap", "npc.swap", "top1.swap", "effective_negatives.swap"),
    thresholds={"ranks": _RANKS, "unsure": _UNSURE},
    judge=_judge,
    explains=(
        "ED103",
        "ED719",
    ),
    fixes=("lower-temperature", "clamped-temperature", "adaptive-temperature"),
)
