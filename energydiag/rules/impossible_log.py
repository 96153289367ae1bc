"""Impossible log: it holds values that its quantities cannot have.

## What it checks
Whether a loss that cannot be below 0 is (InfoNCE, cross-entropies, hinges, squared errors), and whether an accuracy,
recall, AUROC or precision is above 1 without being in percent.

## Why it is bad
What was logged is not what its name says: another term is in it, its sign is turned, or it was summed where it should
be averaged. Everything else that is read from it may be wrong as well.

## Example
Arithmetic: InfoNCE is −log of a probability, and no probability is above 1. A value of −.3 cannot be InfoNCE; with a
term of −.5 times an entropy beside it, it can.

## What to do
Look at what the training loop logs, and log the objective apart from other terms. If it is another objective, name it
(`--objective`); if another column is the loss, `--map loss=NAME`.

## Known limits
Only for an objective that is known. A loss that was inferred from its values is not called impossible for them.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, percent

_ONE = Threshold(1.0001, "by definition 1, and rounding")

_RANKINGS = tuple(
    f"{held_out}{name}"
    for held_out in ("", "validation_")
    for name in ("top1", "recall", "auroc", "average_precision", "correlation")
)


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    wrong = []
    below = given.get("run.objective.below_zero")
    if below is not None and below.value > 0:
        wrong.append(f"the loss is below 0 at {percent(below.value)} of its points, which this objective cannot be")
    for name in _RANKINGS:
        found = given.get(f"run.{name}.max")
        if found is not None and found.value > _ONE.value:
            wrong.append(f"{name} reaches {number(found.value)}, which cannot be above 1")
    if not wrong:
        return None
    told = "; ".join(wrong)
    return Judgement(
        "critical",
        f"{told[:1].upper()}{told[1:]}.",
        "What was logged is not what its name says: another term is in it, or it was summed where it should be "
        "averaged.",
    )


RULE = Rule(
    code="ED722",
    name="impossible-log",
    needs=("run.impossible",),
    optional=("run.objective.below_zero", *(f"run.{name}.max" for name in _RANKINGS)),
    evidence=("run.impossible", "run.objective.below_zero", *(f"run.{name}.max" for name in _RANKINGS)),
    thresholds={"one": _ONE},
    judge=_judge,
)
