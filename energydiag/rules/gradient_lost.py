"""Gradient lost on the way: the last layers learn, the first ones are not reached.

## What it checks
The norm of the training loss's gradient in the first module that runs, over that in the last.

## Why it is bad
Layers that get a thousandth of the gradient stay as they were drawn; the last ones fit what these happen to let
through. A stack of squashing layers ends in a function that is the same for every input.

## Example
Twelve sigmoid layers with small weights in front of a model: the ratio is below 1e-9, and energies are all but equal.

## What to do
LayerNorm between layers, residual connections, activations whose slope is 1 somewhere (SiLU, GELU, ReLU), initial
weights of usual size; then train anew (`fresh-weights`).

## Known limits
The first module that runs may be one that rightly learns little. A head or a unit that is dead, weights that are zero
or an input that is cut off make the same ratio; they have findings of their own, which stand before this one.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number

_RATIO = Threshold(
    1e-3,
    "the design's healthy range; on the fault benchmark < 1e-9 behind twelve sigmoids, .05 and more in healthy models",
)


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    ratio = given["gradient.parameters.first_last_ratio"]
    if ratio.value >= _RATIO.value:
        return None
    return Judgement(
        "warning",
        f"The first module's gradient is {number(ratio.value)} of the last one's.",
        "The gradient shrinks at every layer on its way back, and so does what an input changes on its way forward.",
    )


RULE = Rule(
    code="ED311",
    name="gradient-lost",
    needs=("gradient.parameters.first_last_ratio",),
    evidence=("gradient.parameters.first_last_ratio",),
    thresholds={"ratio": _RATIO},
    judge=_judge,
    explains=(
        "ED101",
        "ED102",
        "ED107",
        "ED201",
        "ED203",
        "ED301",
        "ED303",
        "ED306",
        "ED309",
        "ED402",
        "ED501",
        "ED502",
        "ED701",
        "ED705",
        "ED707",
        "ED709",
        "ED711",
    ),
    fixes=("fresh-weights",),
)
