"""Context cut off: not one number of the context can change which action is better.

## What it checks
d(E(h, a') − E(h, a*))/dh, for the expert's action and another sample's, is exactly 0 in every sample, while the energy
does have a slope in the action.

## Why it is bad
Exactly 0 is no matter of training: the context does not reach the energy, or only adds to all actions alike. No data
and no negatives can teach such a model whose action is right.

## Example
The context multiplied by 0 on its way in: the loss stays at chance, the energies become constant, and what is left of
their spread is rounding.

## What to do
Look for what stands between context and energy: a mask that hides everything, a `detach()`, an input that was never
used, a feature that is overwritten. Then train anew.

## Known limits
A context that comes in by looking up whole numbers has no gradient though it matters.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import low
from energydiag.rules.rule import Judgement, Rule, Threshold

_ZERO = Threshold(1.0, "by definition: every sample")
_SLOPE = Threshold(1e-6, "guess: rounding of float32 with some room; where actions do as little, all signals have died")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    zero, slope = given["gradient.context.zero_fraction"], given["gradient.actions.relative_median"]
    if low(zero) < _ZERO.value or slope.value < _SLOPE.value:
        return None
    return Judgement(
        "critical",
        "No change of any context changes which of two actions is better: the gradient is exactly 0 in every sample.",
        "The context does not reach the energy, or adds the same to every action.",
    )


RULE = Rule(
    code="ED509",
    name="context-cut-off",
    needs=("gradient.context.zero_fraction", "gradient.actions.relative_median"),
    optional=("conditioning.interaction",),
    evidence=("gradient.context.zero_fraction", "conditioning.interaction"),
    thresholds={"zero": _ZERO, "slope": _SLOPE},
    judge=_judge,
    explains=(
        "ED201",
        "ED203",
        "ED207",
        "ED303",
        "ED306",
        "ED309",
        "ED311",
        "ED402",
        "ED501",
        "ED502",
        "ED701",
        "ED705",
        "ED707",
    ),
)
