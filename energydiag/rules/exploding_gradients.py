"""Exploding parameter gradients: a step of ordinary size would throw the weights away.

## What it checks
The norm of the training loss's gradient over all parameters, and the norm in the first module that runs over that in
the last. Gradients that are NaN or infinite, of the parameters and of the expert's actions, are counted.

## Why it is bad
Without clipping, one such step can drive every raw value to the end of the head; with clipping, only the direction of
the largest sample is left.

## Example
Unbounded energies that drifted to thousands at τ = .05: gradient norm 4e4.

## What to do
Clip the norm (`clip-gradients`), raise or clamp the temperature (`clamped-temperature`), anchor the energies with an L2
term (`energy-anchor`).

## Known limits
The norm grows with 1/τ and with the number of parameters; the limits are wide for that reason.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, percent

_NORM = Threshold(1e3, "guess: a thousand times the usual clipping norm of 1")
_RATIO = Threshold(1e3, "guess: the mirror image of the limit for vanishing gradients")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    broken, actions = given["gradient.parameters.nonfinite"], given.get("gradient.actions.nonfinite_fraction")
    if broken.value > 0:
        return Judgement(
            "critical",
            f"The gradient of the loss is NaN or infinite in {number(broken.value)} of {broken.n} parameters.",
            "It overflows on its way back, although the energies themselves are finite.",
        )
    if actions is not None and actions.value > 0:
        return Judgement(
            "critical",
            f"∂E/∂a is NaN or infinite at {percent(actions.value)} of the expert's actions.",
            "The energy's slope in the action overflows, or divides by zero there.",
        )
    measured = given.get("gradient.parameters.norm")
    norm = 0.0 if measured is None else measured.value
    if norm > _NORM.value:
        return Judgement(
            "critical",
            f"The gradient of the loss has norm {number(norm)} over all parameters.",
            "Energies, or one over the temperature, have grown so large that a few samples decide every step.",
        )
    ratio = given.get("gradient.parameters.first_last_ratio")
    if ratio is not None and ratio.value > _RATIO.value:
        return Judgement(
            "warning",
            f"The first module's gradient is {number(ratio.value)} times the last one's.",
            "The gradient grows at every layer on its way back.",
        )
    return None


RULE = Rule(
    code="ED302",
    name="exploding-gradients",
    needs=("gradient.parameters.nonfinite",),
    optional=(
        "gradient.parameters.norm",
        "gradient.parameters.first_last_ratio",
        "gradient.actions.nonfinite_fraction",
    ),
    evidence=(
        "gradient.parameters.norm",
        "gradient.parameters.first_last_ratio",
        "gradient.parameters.nonfinite",
        "gradient.actions.nonfinite_fraction",
    ),
    thresholds={"norm": _NORM, "ratio": _RATIO},
    judge=_judge,
    symptom=True,
    fixes=("clip-gradients", "clamped-temperature", "energy-anchor"),
)
