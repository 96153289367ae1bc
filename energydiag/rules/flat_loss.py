"""Flat loss: the loss never moved, or stands still digit by digit.

## What it checks
Whether the running mean of the loss moved at all between the log's first and last point; whether the loss ends in one
value, repeated digit by digit, over half of the log or more; and whether it is exactly 0 from the first step on. No
batch size is needed to call a line flat. Where chance is known and the loss lies there, plateau-at-chance says so
instead.

## Why it is bad
A loss that does not move says that nothing was learned; one that is exactly constant, that nothing can be: equal
energies, dead units, weights that no gradient reaches, or no negative in the loss at all.

## Example
Arithmetic: a batch of one has no in-batch negatives; its InfoNCE is log 1 = 0 and its gradient 0 at every step. A
triplet loss of equal embeddings is its margin, .5 to the last digit.

## What to do
Look at what reaches the loss: labels, negatives, the parameters that the optimizer was given, `detach()`. Inspect the
checkpoint: constant energies, dead units and collapsed embeddings show there.

## Known limits
A hinge that ends at exactly 0 is done, not flat, and is not reported. A log that does not begin at the beginning may be
flat because everything was learned before.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import high, low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, percent, with_interval

_MOVED = Threshold(0.05, "heuristic: less than a twentieth of its largest running mean")
_CONSTANT = Threshold(0.5, "heuristic: half of the log in one value, digit by digit")
_LEARNED = Threshold(1 / 3, "heuristic: a third of the first loss is far below where it began")
_CHANCE = Threshold(0.05, "plateau-at-chance's: a twentieth of the way from chance to 0")
_RANKS = Threshold(0.5, "heuristic: a ranking that is right for half of the samples was learned")
_POINTS = Threshold(20, "sparse-log's: of fewer points no end can be told from a beginning")

_RANKINGS = ("top1", "auroc", "validation_top1", "validation_auroc")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    last, moved = given["run.objective.last"], given["run.objective.moved"]
    if moved.n < _POINTS.value or "run.nonfinite.masked" in given:
        return None
    norm = given.get("run.gradient.zeros")
    gradient = f"; the gradient norm is exactly 0 at {percent(norm.value)} of the steps" if norm and norm.value else ""
    if given["run.objective.zeros"].value == 1:
        return Judgement(
            "critical",
            f"The loss is exactly 0 from the first step on{gradient}.",
            "No negatives reach the loss: a batch of one has none, or all of them are masked, or the loss is "
            "multiplied by zero. Nothing can be learned from it.",
        )
    first = given.get("run.objective.first")
    learned = first is not None and last.value <= _LEARNED.value * first.value
    at_chance = "run.chance_gap" in given and high(given["run.chance_gap"]) < _CHANCE.value
    if learned or at_chance or any(_ranks(given, name) for name in _RANKINGS):
        return None
    constant = given["run.objective.constant_end"].value
    if constant >= _CONSTANT.value and last.value != 0:
        return Judgement(
            "critical",
            f"The loss stands at {number(last.value)}, digit by digit, over the last {percent(constant)} of the log"
            f"{gradient}.",
            "All energies are equal (collapsed embeddings, dead units), or no gradient reaches the weights.",
        )
    if first is not None and moved.value < _MOVED.value:
        return Judgement(
            "critical",
            f"The loss is flat: it begins at {number(first.value)}, ends at {with_interval(last)}, and its running "
            f"mean never moved by more than {percent(moved.value)}{gradient}.",
            "Nothing was learned: the gradient does not reach the weights, the learning rate is too low, or the loss "
            "does not depend on the energies.",
        )
    return None


def _ranks(given: Mapping[str, Measurement], name: str) -> bool:
    """Whether this ranking is far above chance."""
    found, chance = given.get(f"run.{name}.last"), given.get(f"run.{name}.chance")
    least = chance.value if chance else 0.0
    return found is not None and low(found) > least + _RANKS.value * (1 - least)


RULE = Rule(
    code="ED721",
    name="flat-loss",
    needs=("run.objective.last", "run.objective.moved", "run.objective.constant_end", "run.objective.zeros"),
    optional=(
        *("run.objective.first", "run.chance_gap", "run.nonfinite.masked", "run.gradient.zeros"),
        *(f"run.{name}.{what}" for name in _RANKINGS for what in ("last", "chance")),
    ),
    evidence=(
        *("run.objective.first", "run.objective.last", "run.objective.moved", "run.objective.constant_end"),
        *("run.objective.zeros", "run.gradient.zeros"),
    ),
    thresholds={
        "moved": _MOVED,
        "constant": _CONSTANT,
        "learned": _LEARNED,
        "chance": _CHANCE,
        "ranks": _RANKS,
        "points": _POINTS,
    },
    judge=_judge,
    explains=("ED701", "ED705", "ED706"),
)
