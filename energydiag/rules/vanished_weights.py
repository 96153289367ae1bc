"""Vanished weights: a layer's weights are nearly zero.

## What it checks
The root mean square of a layer's weights over that of weights as PyTorch draws them, in the layer where it is smallest.

## Why it is bad
What such a layer passes on is its bias; context, action or both no longer reach the energy, and no gradient comes back
through it. A LayerNorm behind it brings the size back, but of rounding and noise too. Where the others grow to make up
for it, the gradient explodes.

## Example
A branch that gets no gradient, under a weight decay of 0.5 with a learning rate of 1e-2: each step takes half a percent
away, and after 2000 steps the weights are 4e-5 of what they were.

## What to do
Lower the weight decay and train from fresh weights (`fresh-weights`). Where a layer was set to zero on purpose, as the
last one of a residual branch often is, it should have grown in training: look for a frozen layer or a missing parameter
group.

## Known limits
A table that is added to features, such as learned positions, may be small and useful; low-rank adapters begin with a
zero matrix. Layers are compared with PyTorch's usual initialisation, whatever theirs was.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, percent

_SMALL = Threshold(1e-2, "guess: a hundredth of fresh weights; the samples' smallest layers have about 1")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    smallest, largest = given["weights.rms_relative.min"], given["weights.rms_relative.max"]
    zero = given["weights.zero_layers"].value
    if smallest.value >= _SMALL.value:
        return None
    share = f"; {percent(zero)} of the layers are all zero" if zero else ""
    return Judgement(
        "critical" if largest.value < _SMALL.value else "warning",
        f"The smallest layer's weights are {number(smallest.value)} of fresh ones, the largest layer's "
        f"{number(largest.value)}{share}.",
        "Weight decay shrank what the loss did not hold, or the weights began at zero and were never trained.",
    )


RULE = Rule(
    code="ED307",
    name="vanished-weights",
    needs=("weights.rms_relative.min", "weights.rms_relative.max", "weights.zero_layers"),
    evidence=("weights.rms_relative.min", "weights.zero_layers"),
    thresholds={"small": _SMALL},
    judge=_judge,
    explains=(
        "ED201",
        "ED203",
        "ED301",
        "ED302",
        "ED303",
        "ED309",
        "ED311",
        "ED402",
        "ED501",
        "ED502",
        "ED701",
        "ED707",
        "ED710",
    ),
    fixes=("fresh-weights",),
)
