"""Symmetric units: a layer holds the same unit many times.

## What it checks
The share of a linear layer's units whose weights and bias equal another unit's of the same layer to within a millionth,
in the layer where it is largest. Layers with fewer than four units are left out.

## Why it is bad
Equal units compute the same, get the same gradient where the next layer treats them alike, and so stay equal for ever:
a layer of 512 equal units is one unit. Random weights are never equal by chance.

## Example
All weights of an MLP were set to 0.01 before training: after 300 steps every unit still equals all others of its layer,
and AUROC is .71 instead of .99.

## What to do
Draw the weights at random (`fresh-weights`), each layer in its own way. Look for code that fills weights with a
constant or with zero after the layers were made.

## Known limits
Units of a pruned layer may all be zero by design. Units that are equal except for their sign are not counted.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import percent

_WARNING = Threshold(0.1, "guess: random weights have exactly 0; a few equal units may be pruned ones")
_CRITICAL = Threshold(0.5, "guess: over all layers most units are copies")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    worst, whole = given["weights.symmetric_units.worst"], given["weights.symmetric_units"]
    if worst.value <= _WARNING.value:
        return None
    return Judgement(
        "critical" if whole.value > _CRITICAL.value else "warning",
        f"In one layer {percent(worst.value)} of the units equal another one ({percent(whole.value)} over all layers).",
        "Their weights were set to a constant, and equal units get equal gradients.",
    )


RULE = Rule(
    code="ED305",
    name="symmetric-units",
    needs=("weights.symmetric_units.worst", "weights.symmetric_units"),
    evidence=("weights.symmetric_units.worst", "weights.symmetric_units"),
    thresholds={"warning": _WARNING, "critical": _CRITICAL},
    judge=_judge,
    explains=(
        "ED201",
        "ED203",
        "ED301",
        "ED303",
        "ED306",
        "ED310",
        "ED311",
        "ED402",
        "ED501",
        "ED502",
        "ED701",
        "ED710",
    ),
    fixes=("fresh-weights",),
)
