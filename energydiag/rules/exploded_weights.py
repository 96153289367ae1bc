"""Exploded weights: a layer's weights are far larger than any sound training leaves them.

## What it checks
The root mean square of a layer's weights over that of weights as PyTorch draws them, in the layer where it is largest.

## Why it is bad
Large weights push every unit behind them onto its flat end, or every value out of the range that half precision holds,
and make the energy so steep that no step length fits it. They do not come back by themselves: steps have the size of
the learning rate.

## Example
An MLP of tanh units trained with a learning rate of 1 for 100 steps: its largest layer is 148 times a fresh one, AUROC
is .71 where a learning rate of 1e-3 gives .99.

## What to do
Train from fresh weights (`fresh-weights`) with a lower learning rate, clipped gradients and some weight decay.

## Known limits
The measure grows with the square root of a layer's inputs for the same change of every weight, so wide layers reach it
earlier. A LayerNorm behind the layer undoes the size in the energy, not in the way the layer learns. A parameter matrix
that is multiplied from the other side is measured with the wrong number of inputs.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number

_WARNING = Threshold(
    30, "guess: soundly trained heads reach 4, MLPs that still separate 10, those that do not 44 and more"
)
_CRITICAL = Threshold(1000, "guess: no unit behind such a layer is left between its ends")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    largest = given["weights.rms_relative.max"].value
    if largest <= _WARNING.value:
        return None
    return Judgement(
        "critical" if largest > _CRITICAL.value else "warning",
        f"The largest layer's weights are {number(largest)} times fresh ones.",
        "Steps were too long, or nothing held the weights back.",
    )


RULE = Rule(
    code="ED308",
    name="exploded-weights",
    needs=("weights.rms_relative.max",),
    optional=("weights.biggest_spectral_norm",),
    evidence=("weights.rms_relative.max", "weights.biggest_spectral_norm"),
    thresholds={"warning": _WARNING, "critical": _CRITICAL},
    judge=_judge,
    explains=(
        "ED105",
        "ED106",
        "ED302",
        "ED311",
        "ED718",
    ),
    fixes=("fresh-weights",),
)
