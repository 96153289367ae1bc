"""Frozen weights: training goes on, and nothing moves.

## What it checks
A gradient norm of exactly 0 at the end, updates of exactly 0, a learning rate of 0 throughout; or, while the loss did
not fall: a norm of the weights that did not change in any digit, or losses that come back digit by digit, four and more
in a row, as they do where the same batches meet the same weights.

## Why it is bad
Every further step is wasted. The head is dead, detached from the loss, or missing from the optimiser.

## Example
`sample_checkpoints/runs/collapsed`: the gradient norm is .042 at step 0 and exactly 0 from step 10 on, since every raw
value lies where a sigmoid's slope rounds to 0.

## What to do
Inspect the checkpoint: a dead head is told there, with its repair. Otherwise check `requires_grad`, a stray
`detach()`, and that the optimiser was given the head's parameters.

## Known limits
A log with few digits may hide a slow change of the norm of the weights, and that norm may stay while weights move. A
loss that reached a hundredth of its first value is taken as fitted, whose gradient may vanish.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import percent

_FITTED = Threshold(0.01, "guess: nothing is left to learn at a hundredth of the first loss")
_FALL = Threshold(0.05, "guess: weights that do not move cannot lower the loss by a twentieth")
_REPEAT = Threshold(0.5, "guess: half of the log was seen before")
_POINTS = Threshold(8, "guess: fewer logged norms of the weights may be equal by their few digits")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    first, last, fall = (given[f"run.loss.{name}"] for name in ("first", "last", "fall"))
    if abs(last.value) <= _FITTED.value * abs(first.value):
        return None
    told = [words for name, words in _EXACTLY.items() if (m := given.get(name)) is not None and m.value == 0]
    norm = given.get("run.weight_norm.change")
    flat = low(fall) < _FALL.value
    if norm is not None and norm.value == 0 and norm.n >= _POINTS.value and flat:
        told.append("the norm of the weights never changed")
    repeat = given.get("run.loss.repeat")
    if repeat is not None and repeat.value > _REPEAT.value and flat:
        told.append("the same losses come back, digit by digit")
    if not told:
        return None
    saturation = given.get("run.saturation.last")
    dead = saturation is not None and saturation.value > 0.5
    summary = ", ".join(told)
    return Judgement(
        "critical",
        f"{summary[0].upper()}{summary[1:]}"
        + (f"; {percent(saturation.value)} of the raw values are saturated." if dead and saturation else "."),
        "The head is dead: every raw value lies where its slope is 0."
        if dead
        else "The head is dead, detached from the loss, missing from the optimiser, or its learning rate is 0.",
    )


_EXACTLY = {
    "run.gradient.norm.last": "the gradient is exactly 0 at the end",
    "run.update_ratio.median": "updates are exactly 0",
    "run.learning_rate.peak": "the learning rate is 0 throughout",
}

RULE = Rule(
    code="ED711",
    name="frozen-weights",
    needs=("run.loss.first", "run.loss.last", "run.loss.fall"),
    optional=(*_EXACTLY, "run.weight_norm.change", "run.saturation.last", "run.loss.repeat"),
    evidence=(*_EXACTLY, "run.weight_norm.change", "run.loss.fall", "run.saturation.last", "run.loss.repeat"),
    thresholds={"fitted": _FITTED, "fall": _FALL, "repeat": _REPEAT, "points": _POINTS},
    judge=_judge,
    explains=(
        "ED201",
        "ED202",
        "ED203",
        "ED206",
        "ED207",
        "ED309",
        "ED402",
        "ED403",
        "ED501",
        "ED701",
        "ED706",
        "ED709",
    ),
)
