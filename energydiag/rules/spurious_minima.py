"""Spurious minima: descents end lower than the expert's action, and farther from it than they began.

## What it checks
The share of eight-step descents, from the expert's action, the policy's and far noise, that end with an energy below
that of the expert's action, yet farther from it than they began and than the policy's action is.

## Why it is bad
The energy says of such a place that it is better than what the expert did. Whoever minimises the energy goes there,
the more surely the better the optimiser.

## Example
An MLP over context and action that was trained without near negatives: .76 of the descents. Healthy models of the same
kind, trained without adversarial negatives, have .51 to .57; the sample `healthy`, trained with them, .12.

## What to do
Close the wells by training on the places where descents end (`adversarial-negatives`), rank actions by distance
(`distance-ranking`), and mix in near negatives (`mixed-negatives`).

## Known limits
A lower place may be another right action where several are right. Only places within eight steps of a fifth of the
policy's error are found.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import percent

_RATE = Threshold(
    0.65,
    "calibrated on the fault benchmark: .51 to .57 in healthy models trained without adversarial negatives, .76 astray",
)


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    rate = given["field.spurious_minimum_rate"]
    if low(rate) <= _RATE.value:
        return None
    return Judgement(
        "warning",
        f"{percent(rate.value)} of the descents end lower than the expert's action, and farther from it than they "
        "began.",
        "Near the expert's action there are wells in which no negative of training ever lay.",
    )


RULE = Rule(
    code="ED404",
    name="spurious-minima",
    needs=("field.spurious_minimum_rate",),
    optional=("field.correction_gain.k8",),
    evidence=("field.spurious_minimum_rate", "field.correction_gain.k8"),
    thresholds={"rate": _RATE},
    judge=_judge,
    symptom=True,
    explains=("ED401",),
    fixes=("adversarial-negatives", "distance-ranking", "mixed-negatives"),
)
