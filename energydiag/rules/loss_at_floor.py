"""Loss at its floor: the loss is a flat line because the head's range does not let it fall further.

## What it checks
With energies inside a range R, temperature τ and N negatives, InfoNCE cannot fall below log(1 + N·exp(−R/τ)). The rule
compares the measured loss with that floor and with chance, log(1 + N).

## Why it is bad
The loss looks stuck although the model has learned most of what it can show. What is left of the loss cannot be
trained away, and its gradient keeps pushing raw values outwards: saturation follows.

## Example
Sigmoid head (R = 1), τ = .5, 64 contexts: floor 2.25, chance 4.16, loss 2.5. A flat line, yet AUROC is .95.

## What to do
Give the energy a range: `linear-head` or `softplus-head`; or `rescaled-head` with a lower temperature (R = 2, τ = .3:
floor .077). Train it from fresh weights (`fresh-weights`).

## Known limits
The floor depends on the temperature that was trained with. Where the checkpoint does not tell it, it is assumed and
said; `--tau` sets it. Negatives beside the swap ones raise the true floor.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, percent

_SHARE = Threshold(0.5, "guess: more than half of the loss cannot be trained away")
_GAP = Threshold(0.5, "guess: more than half of the way from chance to the floor is done")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    loss, floor, chance = (given[name].value for name in ("loss.swap", "loss.swap.floor", "loss.swap.chance"))
    gap = given["floor_gap.swap"]
    if floor <= _SHARE.value * loss or (gap.ci95[1] if gap.ci95 else gap.value) >= _GAP.value:
        return None
    return Judgement(
        "critical",
        f"The loss is {number(loss)} and cannot fall below {number(floor)} (chance is {number(chance)}): "
        f"{percent(floor / loss)} of it is the floor, so it is a flat line.",
        "The head's energy range is too narrow for this temperature and this many negatives; InfoNCE is never "
        "satisfied and keeps pushing raw values outwards.",
    )


RULE = Rule(
    code="ED103",
    name="loss-at-floor",
    needs=("loss.swap", "loss.swap.floor", "loss.swap.chance", "floor_gap.swap"),
    evidence=("loss.swap", "loss.swap.floor", "floor_gap.swap"),
    thresholds={"floor share": _SHARE, "floor gap": _GAP},
    judge=_judge,
    explains=("ED101", "ED102"),
    fixes=("linear-head", "fresh-weights", "softplus-head", "rescaled-head", "lower-temperature"),
)
