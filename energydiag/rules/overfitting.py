"""Overfitting: the loss on held-out samples rises while the training loss does not.

## What it checks
How far the validation loss rose along a robust line from where it was lowest to the end (the lower end of its
interval), that it ends above the training loss, and that the training loss does not rise. A validation loss that ends
worse than chance, while training took half of the loss at chance away, counts without a rise.

## Why it is bad
From the lowest validation on, training learns the samples by heart. The last checkpoint is worse than an earlier one.

## Example
Arithmetic: validation falls to 1.8 at step 400 and is 2.1 at step 1000: +17 %. Training ends at .4.

## What to do
Take the checkpoint of the lowest validation, stop there, collect more data, or train a smaller head or with dropout.

## Known limits
Needs a validation loss in the log, eight validations after the lowest one, and one that is measured like the training
loss: with as many negatives at the same temperature.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import high, low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, with_interval

_RISE = Threshold(0.05, "guess: a twentieth above the lowest validation loss")
_LEARNED = Threshold(0.5, "guess: half of the way from chance to 0")

_KEPT = Threshold(0.85, "heuristic: the held-out ranking ends within a sixth of its best")
_ROSE = Threshold(0.05, "heuristic: five points in a hundred above where it began")

_RANKINGS = tuple(f"run.validation_{name}" for name in ("top1", "recall", "auroc", "average_precision", "correlation"))


def _improved(given: Mapping[str, Measurement], name: str) -> bool:
    """Whether a held-out ranking rose and stayed: then a rising loss is confidence, or distances that grow."""
    first, last, best = (given.get(f"{name}.{what}") for what in ("first", "last", "best"))
    if first is None or last is None or best is None:
        return False
    return low(last) > first.value + _ROSE.value and last.value > _KEPT.value * best.value


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    rise, gap, trained = given["run.validation_rise"], given["run.validation_gap"], given["run.loss.rise"]
    if low(gap) <= 0 or low(trained) > 0 or any(_improved(given, name) for name in _RANKINGS):
        return None
    chance, learned = given.get("run.validation.chance_gap"), given.get("run.chance_gap")
    worse = chance is not None and high(chance) < 0
    by_heart = worse and learned is not None and low(learned) > _LEARNED.value
    if low(rise) <= _RISE.value and not by_heart:
        return None
    rose = f"rose from its lowest by {with_interval(rise)} of it, and " if low(rise) > _RISE.value else ""
    return Judgement(
        "critical" if worse else "warning",
        f"The validation loss {rose}ends {number(gap.value)} above the training loss"
        + (", worse than chance." if worse else "."),
        "The head has more freedom than the samples can hold, and learns them by heart.",
    )


RULE = Rule(
    code="ED708",
    name="overfitting",
    needs=("run.validation_rise", "run.validation_gap", "run.loss.rise"),
    optional=(
        *("run.validation.chance_gap", "run.chance_gap", "run.validation.last"),
        *(f"{name}.{what}" for name in _RANKINGS for what in ("first", "last", "best")),
    ),
    evidence=("run.validation_rise", "run.validation_gap", "run.validation.last", "run.validation.chance_gap"),
    thresholds={"rise": _RISE, "learned": _LEARNED, "kept": _KEPT, "rose": _ROSE},
    judge=_judge,
    explains=(
        "ED108",
        "ED201",
        "ED203",
        "ED205",
        "ED206",
        "ED401",
        "ED402",
        "ED403",
    ),
)
