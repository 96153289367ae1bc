"""Dead units: relu units that are off for every sample.

## What it checks
The share of a layer's relu-like units (relu, silu, gelu, elu, …) that are off at every input of the batch, expert's and
other samples' actions alike, in the layer where it is largest: one layer that is cut off is enough.

## Why it is bad
A unit that is always off adds a constant, gets no gradient and cannot come back. A layer that is mostly dead passes on
what the few others let through; one that is wholly dead cuts the energy off from its inputs.

## Example
A relu MLP trained with a learning rate of 1: 82 % of a layer's units are off for all samples, top-1 of 64 is .34. With
a learning rate of 1e-3 it is .78, and less than 2 % are off.

## What to do
Train from fresh weights (`fresh-weights`), with a lower learning rate or a warm-up, so that no early step throws the
units away. Units that are never wholly flat (silu, leaky relu) die less easily.

## Known limits
The fewer the samples, the more units are off in all of them that are on now and then. Below 149 samples, which a unit
that is on in 2 % of them has one chance in twenty to miss, the rule is inconclusive. Similar samples have the same
effect. Pruned models have dead units by design.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import percent

_WARNING = Threshold(
    0.65,
    "calibrated on the fault benchmark: .69 and more where relus were dead, .60 in fresh layers, .75 in a healthy one",
)
_CRITICAL = Threshold(0.95, "guess: what is left of the layer is a bottleneck")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    worst, whole = given["hidden.dead_units.worst"], given["hidden.dead_units"]
    if low(worst) <= _WARNING.value:
        return None
    return Judgement(
        "critical" if low(worst) > _CRITICAL.value else "warning",
        f"In one layer {percent(worst.value)} of the units are off for every sample "
        f"({percent(whole.value)} over all such layers).",
        "Their inputs were pushed far below zero, where no gradient brings them back.",
    )


RULE = Rule(
    code="ED106",
    name="dead-units",
    needs=("hidden.dead_units.worst", "hidden.dead_units"),
    evidence=("hidden.dead_units.worst", "hidden.dead_units"),
    thresholds={"warning": _WARNING, "critical": _CRITICAL},
    judge=_judge,
    explains=(
        "ED102",
        "ED201",
        "ED203",
        "ED301",
        "ED303",
        "ED306",
        "ED309",
        "ED311",
        "ED402",
        "ED501",
        "ED502",
        "ED701",
        "ED711",
    ),
    fixes=("fresh-weights",),
)
