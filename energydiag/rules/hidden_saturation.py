"""Hidden saturation: most inputs drive a layer of tanh or sigmoid units onto their flat ends.

## What it checks
The share of inputs at which the units of a layer have less than a tenth of their steepest slope (tanh: |u| > 1.82,
sigmoid: |u| > 3.64), in the layer where it is largest. The activation that makes the energy is another rule's (ED101).

## Why it is bad
Both gradients, to the weights below and to the action, are multiplied by this slope. Behind a saturated layer the
weights no longer learn and the energy no longer changes with small changes of the action.

## Example
A fresh MLP of tanh units over contexts and actions that are 40 times too large: 92 % of the first layer's inputs lie
beyond ±1.82. Trained on inputs of ordinary size it has 12 to 20 %; trained with a learning rate of 1, 99.8 %.

## What to do
Scale what comes in, or put a LayerNorm before the layer, and train from fresh weights (`fresh-weights`). For a next
model, take units that are flat at one end at most (silu, gelu).

## Known limits
Gates are meant to be shut or open: where a sigmoid multiplies another branch, saturation can be what was learned. The
gates of torch's own recurrent layers are not seen.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import percent

_WARNING = Threshold(
    0.5, "guess: most inputs lose nine tenths of the gradient here; a soundly trained tanh MLP has 0.2"
)
_CRITICAL = Threshold(0.9, "guess: hardly an input is left whose gradient passes")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    worst, whole = given["hidden.saturated_fraction.worst"], given["hidden.saturated_fraction"]
    low = worst.ci95[0] if worst.ci95 else worst.value
    if low <= _WARNING.value:
        return None
    return Judgement(
        "critical" if low > _CRITICAL.value else "warning",
        f"In one layer {percent(worst.value)} of the units' inputs lie where 90 % of the slope is lost "
        f"({percent(whole.value)} over all such layers).",
        "Inputs or weights of this layer are too large for its tanh or sigmoid units.",
    )


RULE = Rule(
    code="ED105",
    name="hidden-saturation",
    needs=("hidden.saturated_fraction.worst", "hidden.saturated_fraction"),
    evidence=("hidden.saturated_fraction.worst", "hidden.saturated_fraction"),
    thresholds={"warning": _WARNING, "critical": _CRITICAL},
    judge=_judge,
    explains=("ED201", "ED301", "ED303"),
    fixes=("fresh-weights",),
)
