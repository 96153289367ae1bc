"""Plateau at the floor: the contrastive loss ends near the lowest value that the head's range allows.

## What it checks
With energies inside a range R, temperature τ and N negatives, InfoNCE cannot fall below log(1 + N·exp(−R/τ)). The rule
compares its end in a training log with that floor and with chance, log(1 + N), and asks that the second half was flat.

## Why it is bad
The loss looks stuck although the model has learned most of what it can show. What is left of the loss cannot be
trained away, and its gradient keeps pushing raw values onto the flat ends of the head.

## Example
`sample_checkpoints/runs/original`: sigmoid head (R = 1), τ = .5, 63 negatives. The floor is 2.25, chance 4.16; over
the last 13 rows InfoNCE is 2.57, over the second half it fell by .06. 95 % of the raw values are saturated.

## What to do
Give the energy a range: `linear-head` or `softplus-head`; or `rescaled-head` with a lower temperature (R = 2, τ = .3:
floor .077). Train it from fresh weights (`fresh-weights`).

## Known limits
Head, temperature and negatives have to be known from the settings beside the log, or told. Where one of them was
another, so is the floor; a loss below it is told, one above it is not.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import high
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, percent, with_interval

_SHARE = Threshold(0.5, "guess: more than half of the loss cannot be trained away")
_GAP = Threshold(0.5, "guess: more than half of the way from chance to the floor is done")
_FALLING = Threshold(0.1, "guess: a loss that fell by a tenth over the second half is no plateau")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    last, floor, gap = given["run.objective.last"], given["run.objective.floor"].value, given["run.floor_gap"]
    falling = -given["run.objective.slope_last_half"].value > _FALLING.value * last.value
    if falling or floor <= _SHARE.value * last.value or high(gap) >= _GAP.value:
        return None
    return Judgement(
        "critical",
        f"The loss ends at {with_interval(last)} and cannot fall below {number(floor)} (chance is "
        f"{number(given['run.objective.chance'].value)}): {percent(min(1.0, floor / last.value))} of it is the floor.",
        "The head's energy range is too narrow for this temperature and this many negatives; InfoNCE is never "
        "satisfied and keeps pushing raw values outwards.",
    )


RULE = Rule(
    code="ED702",
    name="plateau-at-floor",
    needs=(
        *("run.objective.last", "run.objective.floor", "run.objective.chance", "run.floor_gap"),
        "run.objective.slope_last_half",
    ),
    optional=("run.saturation.last",),
    evidence=(
        *("run.objective.last", "run.objective.floor", "run.floor_gap", "run.objective.slope_last_half"),
        "run.saturation.last",
    ),
    thresholds={"floor share": _SHARE, "floor gap": _GAP, "falling": _FALLING},
    judge=_judge,
    explains=("ED724",),
    fixes=("linear-head", "fresh-weights", "softplus-head", "rescaled-head", "lower-temperature"),
)
