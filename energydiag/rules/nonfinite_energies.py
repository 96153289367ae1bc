"""Non-finite energies: the model answers with NaN or infinity.

## What it checks
The share of (context, action) pairs whose energy is NaN or infinite, on samples whose inputs are finite.

## Why it is bad
One such pair makes the whole loss NaN, and the step after it every weight.

## Example
Weights saved after the run had diverged; or a half-precision overflow inside the model.

## What to do
Go back to the last checkpoint whose energies are finite; clip gradients (`clip-gradients`) and lower the learning rate
(`lower-learning-rate`) before training on.

## Known limits
Nothing else can be measured then; every other probe says that it was skipped.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule
from energydiag.rules.wording import percent


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    share = given["head.nonfinite_fraction"].value
    if share == 0:
        return None
    return Judgement(
        "critical",
        f"{percent(share)} of the energies are NaN or infinite.",
        "Weights or activations overflowed; the checkpoint was saved after training had diverged.",
    )


RULE = Rule(
    code="ED104",
    name="nonfinite-energies",
    needs=("head.nonfinite_fraction",),
    evidence=("head.nonfinite_fraction",),
    thresholds={},
    judge=_judge,
    explains=(
        "ED101",
        "ED102",
        "ED103",
        "ED201",
        "ED202",
        "ED203",
        "ED301",
        "ED302",
        "ED303",
        "ED304",
        "ED309",
    ),
    fixes=("clip-gradients", "lower-learning-rate"),
)
