"""Memorised batches: the training loss vanishes while held-out samples stay at chance.

## What it checks
InfoNCE in training far below chance (the lower end of the interval), and the validation loss at chance (the upper
end).

## Why it is bad
The head knows which samples it has seen, and nothing else: a few batches that come again and again, labels that leak
into the context, or validation samples from another world.

## Example
Arithmetic: 63 negatives, chance 4.16. Training ends at .1 (98 % gained), validation at 4.1 (1 % gained).

## What to do
Check that the loader shuffles and reaches all data; count the different samples; look for the action, or an index,
inside the context.

## Known limits
Needs a validation loss measured like the training loss: with as many negatives at the same temperature.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import high, low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import percent

_LEARNED = Threshold(0.8, "guess: four fifths of the way from chance to 0")
_HELD_OUT = Threshold(0.05, "guess: a twentieth of the way, as for a plateau at chance")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    own, other = given["run.chance_gap"], given["run.validation.chance_gap"]
    if low(own) <= _LEARNED.value:
        return None
    if high(other) >= _HELD_OUT.value:
        return None
    return Judgement(
        "critical",
        f"Training took away {percent(own.value)} of the loss at chance; on held-out samples it is "
        f"{percent(max(0.0, other.value))}.",
        "The same few samples come again and again, or something in them gives the answer away.",
    )


RULE = Rule(
    code="ED714",
    name="memorised-batches",
    needs=("run.chance_gap", "run.validation.chance_gap"),
    optional=("run.validation.last", "run.objective.last", "run.loss.repeat"),
    evidence=(
        *("run.chance_gap", "run.validation.chance_gap", "run.objective.last", "run.validation.last"),
        "run.loss.repeat",
    ),
    thresholds={"learned": _LEARNED, "held out": _HELD_OUT},
    judge=_judge,
    explains=(
        "ED108",
        "ED201",
        "ED203",
        "ED205",
        "ED206",
        "ED401",
        "ED402",
        "ED708",
    ),
)
