"""Overconfident start: the first loss is far above chance.

## What it checks
The first InfoNCE that was logged over log(1 + N), what a model that knows nothing pays.

## Why it is bad
Before it has learned anything, a softmax should be near uniform. Where it is sure and wrong, one negative decides every
gradient, and the gradients are as long as one over the temperature: the first steps throw the model anywhere, and what
it learns later has to undo that. Under a temperature that stays too low the hardest negatives alone shape the energy,
and the field between the actions is left to chance.

## Example
τ = .0005 with a fresh network, whose energies differ by some hundredths: first losses of 18 to 48 where chance is 3.7.

## What to do
A temperature as large as the energies' differences (`clamped-temperature`, `adaptive-temperature`), or a last layer
that begins small.

## Known limits
A run that goes on from a trained model begins wherever that one is. A log that begins late does not show its start.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number

_TIMES = Threshold(
    3.0, "calibrated on the fault benchmark: 4.9 and more at a hundredth of a good τ, 1.0 in healthy runs"
)


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    first, chance = given["run.objective.first"], given["run.objective.chance"]
    if first.value <= _TIMES.value * chance.value:
        return None
    return Judgement(
        "warning",
        f"The loss begins at {number(first.value)}; a model that knows nothing has {number(chance.value)}.",
        "The temperature is too low, or the first weights too large, for what the energies differ by at the start.",
    )


RULE = Rule(
    code="ED718",
    name="overconfident-start",
    needs=("run.objective.first", "run.objective.chance"),
    optional=("run.gradient.norm.max", "run.gradient.norm.median"),
    evidence=("run.objective.first", "run.objective.chance", "run.gradient.norm.max", "run.gradient.norm.median"),
    thresholds={"times": _TIMES},
    judge=_judge,
    explains=(
        "ED302",
        "ED303",
        "ED401",
        "ED402",
        "ED707",
        "ED715",
        "ED719",
    ),
    fixes=("clamped-temperature", "adaptive-temperature"),
)
