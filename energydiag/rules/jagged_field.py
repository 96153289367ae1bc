"""Jagged field: the energy ranks well, but goes up and down on the way to the expert's action.

## What it checks
Whether the trust ratio (the fall of E over a short step, over what the gradient promises) is out of its range, while
AUROC against swap negatives is good, together with one of two others at least: the share of steps on straight ways from
the expert's action outwards at which E falls, and the rank correlation of E with the distance from it.

## Why it is bad
A gradient tells the slope at one point. Where the slope changes within a step's length, the step does not do what the
gradient says, and descents end in the nearest dent.

## Example
The sample `healthy` with the mean of 24·sin(400·a) added, whose dents are .016 apart: AUROC is still .96 and the rank
correlation .81, but a short step raises E by .07 of the fall that the gradient promises (trust ratio −.07), and E falls
at 38 % of the steps outwards. Corrections gain nothing.

## What to do
Bound the slope (`gradient-penalty`), teach its direction (`alignment-loss`) and the order of near actions
(`distance-ranking`). Until then take shorter steps with a line search.

## Known limits
The step that is tried is a tenth of the policy's error; dents far below that length are not seen, nor do they matter to
a correction.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import high, low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, percent

_RANKS = Threshold(0.8, "the design's healthy range for AUROC")
_TRUST_LOW = Threshold(
    0.6, "calibrated on the fault benchmark: .31 to .40 with a jagged field, .73 and more with any other fault or none"
)
_TRUST_HIGH = Threshold(3.0, "the design's healthy range; nothing in the calibration runs is above 1")
_VIOLATIONS = Threshold(0.15, "the design's healthy range")
_SPEARMAN = Threshold(0.7, "the design's healthy range")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    trust, violations, spearman = (
        given[f"field.{name}"] for name in ("trust_ratio", "monotonicity_violations", "spearman")
    )
    if _TRUST_LOW.value <= high(trust) and low(trust) <= _TRUST_HIGH.value:
        return None
    signs = [f"a short step lowers E by {number(trust.value)} of what the gradient promises"]
    if low(violations) > _VIOLATIONS.value:
        signs.append(f"E falls at {percent(violations.value)} of the steps away from the expert's action")
    if high(spearman) < _SPEARMAN.value:
        signs.append(f"its rank correlation with the distance is {number(spearman.value)}")
    if len(signs) == 1 or low(given["auroc.swap"]) <= _RANKS.value:
        return None
    text = "; ".join(signs)
    return Judgement(
        "warning",
        f"{text[0].upper()}{text[1:]}.",
        "The energy was fitted at single actions and is rough between them.",
    )


RULE = Rule(
    code="ED403",
    name="jagged-field",
    needs=("field.trust_ratio", "field.monotonicity_violations", "field.spearman", "auroc.swap"),
    evidence=("field.trust_ratio", "field.monotonicity_violations", "field.spearman", "auroc.swap"),
    thresholds={
        "ranks": _RANKS,
        "trust ratio, low": _TRUST_LOW,
        "trust ratio, high": _TRUST_HIGH,
        "violations": _VIOLATIONS,
        "Spearman": _SPEARMAN,
    },
    judge=_judge,
    symptom=True,
    explains=("ED401", "ED402"),
    fixes=("gradient-penalty", "alignment-loss", "distance-ranking"),
)
