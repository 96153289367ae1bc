"""Vanishing parameter gradients: the loss does not reach the weights.

## What it checks
The norm of the training loss's gradient over all parameters.

## Why it is bad
Weights without gradient do not learn; an optimiser that divides by the gradient's size then amplifies rounding.

## Example
All raw values on the flat end of a sigmoid: gradient norm 0 in every module.

## What to do
First mend what stands before it in the report (a dead or saturated head). On its own: an unbounded head
(`linear-head`), whose slope is 1 everywhere; for a next training, LayerNorm between layers, smaller initial weights,
residual connections.

## Known limits
A model that has fitted its batch perfectly has small gradients too; the loss of the very samples whose gradient was
taken tells the two apart, and a loss below a hundredth of chance is not reported.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number

_NORM = Threshold(1e-6, "guess: float32 rounding of a loss near 1 is 1e-7")
_FITTED = Threshold(0.01, "guess: share of chance below which small gradients only say that the batch is fitted")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    norm, loss = given["gradient.parameters.norm"].value, given["gradient.parameters.loss"].value
    fitted = loss < _FITTED.value * given["loss.swap.chance"].value
    if norm < _NORM.value and not fitted:
        return Judgement(
            "critical",
            f"The gradient of the loss has norm {number(norm)} over all parameters: nothing is learned.",
            "Somewhere between loss and weights a slope is zero.",
        )
    return None


RULE = Rule(
    code="ED301",
    name="vanishing-gradients",
    needs=("gradient.parameters.norm", "gradient.parameters.loss", "loss.swap.chance"),
    optional=("loss.swap",),
    evidence=("gradient.parameters.norm", "gradient.parameters.loss", "loss.swap"),
    thresholds={"norm": _NORM, "fitted": _FITTED},
    judge=_judge,
    symptom=True,
    fixes=("linear-head",),
)
