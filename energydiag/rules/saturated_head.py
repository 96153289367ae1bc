"""Saturated head: most raw values lie where the energy's activation is nearly flat.

## What it checks
The share of (context, action) pairs whose raw value has less than a tenth of the activation's steepest slope: for
`sigmoid(r)` |r| > 3.64, for `2·sigmoid(r/2)` |r| > 7.27.

## Why it is bad
The gradient to the parameters and the gradient that moves an action both pass through this slope. Where it is flat,
training stands still and correction has no direction, however well the energies are ranked.

## Example
A sigmoid head trained with in-batch InfoNCE: AUROC .95, 90 % of raw values beyond ±3.64, median ‖∇_a E‖ 4e-5.

## What to do
Use an unbounded head (`linear-head`, `softplus-head`) with an L2 anchor on E. A wider sigmoid (`rescaled-head`) gives
slope back at the same raw value (×5.9 at |r| = 4) but saturates again, later, while its floor keeps pushing. What was
learned under the saturated head is a poor start: retrain from fresh weights (`fresh-weights`).

## Known limits
One flat side can be harmless where nothing needs to move there, as for a softplus whose positives sit near zero.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import percent

_WARNING = Threshold(0.10, "the design's healthy range")
_CRITICAL = Threshold(0.50, "guess: with most pairs on the flat part, the median gradient passes through it")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    share = given["head.slope_saturated_fraction"]
    low = share.ci95[0] if share.ci95 else share.value
    if low <= _WARNING.value:
        return None
    sides = [
        f"{percent(m.value)} {side}"
        for side, name in (
            ("low", "head.slope_saturated_fraction.low"),
            ("high", "head.slope_saturated_fraction.high"),
        )
        if (m := given.get(name)) is not None and m.value > 0
    ]
    return Judgement(
        "critical" if low > _CRITICAL.value else "warning",
        f"{percent(share.value)} of the raw values lie where the head has lost 90 % of its slope"
        + (f" ({', '.join(sides)})." if sides else "."),
        "A bounded energy can only separate further by pushing raw values outwards, onto the flat ends.",
    )


RULE = Rule(
    code="ED101",
    name="saturated-head",
    needs=("head.slope_saturated_fraction",),
    optional=("head.slope_saturated_fraction.low", "head.slope_saturated_fraction.high"),
    evidence=("head.slope_saturated_fraction",),
    thresholds={"warning": _WARNING, "critical": _CRITICAL},
    judge=_judge,
    explains=(
        "ED203",
        "ED206",
        "ED301",
        "ED303",
        "ED401",
        "ED402",
        "ED403",
        "ED508",
        "ED701",
        "ED706",
        "ED719",
    ),
    fixes=("linear-head", "fresh-weights", "softplus-head", "rescaled-head"),
)
