"""Temperature too low: the softmax is far surer than it is right, so a few contexts are the whole loss.

## What it checks
AUROC against swap negatives is good, and yet the loss is more than twice what a model would have that knew nothing but
its favourite and how often that is right, −t·log t − (1 − t)·log((1 − t)/N) for top-1 t and N negatives; the expert's
share of the softmax is about t, which is what a step function gives.

## Why it is bad
Where the favourite is right, 1 − p₊ is 0 and nothing is learned; where it is wrong, the loss is a spike in proportion
to 1/τ. Steps are rare and violent, and the hardest negative, which may be a false one, gets all of the gradient.

## Example
The sample `healthy` at τ = .005: the expert's action comes first in .88 of the contexts, for which a loss of 1.07 is
enough; it is 11.7. At τ = 1 it is .45.

## What to do
Let the temperature be learned within limits (`clamped-temperature`), raise it, or let it follow the gap
(`adaptive-temperature`); hold unbounded energies (`energy-anchor`). Give the temperature of training with `--tau` if
the assumed one is wrong.

## Known limits
Too sure is also a model that has learned its training samples by heart and meets others: compare with the training
dump. A model that ranks every context rightly is not reported, however low the temperature is.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.confidence import honest_loss
from energydiag.rules.ends import low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number

_RANKS = Threshold(0.8, "the design's healthy range for AUROC")
_TIMES = Threshold(2.0, "guess: trained softmaxes are all a little too sure on other samples")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    loss, top1, coupling = given["loss.swap"], given["top1.swap"], given["npc.swap"]
    honest = honest_loss(top1, given["top1.swap.chance"])
    unsure = 1 - low(coupling) < low(top1)
    if low(given["auroc.swap"]) <= _RANKS.value or unsure or low(loss) <= _TIMES.value * honest:
        return None
    return Judgement(
        "warning",
        f"The loss is {number(loss.value)} although the expert's action comes first in {number(top1.value)} of the "
        f"contexts; {number(honest)} would do for that.",
        "The temperature is too low for the energies' differences: the softmax is a step, and the few contexts that "
        "it gets wrong cost nearly all of the loss.",
    )


RULE = Rule(
    code="ED205",
    name="temperature-too-low",
    needs=("loss.swap", "npc.swap", "top1.swap", "top1.swap.chance", "auroc.swap"),
    evidence=("loss.swap", "npc.swap", "top1.swap"),
    thresholds={"ranks": _RANKS, "times": _TIMES},
    judge=_judge,
    explains=("ED302",),
    fixes=("clamped-temperature", "adaptive-temperature", "energy-anchor"),
)
