"""Ranking at chance: the loss fell, and positives are still ranked as if by chance.

## What it checks
Every ranking in the log (top-1, recall, AUROC, precision; held out or not): whether its end lies at chance, where that
is known, or never rose above where it began, while the loss fell.

## Why it is bad
The loss can fall without any ranking: SigLIP's bias takes it from 10 to log B + 1 by itself, and memorized samples take
the training loss to 0 while held-out accuracy stays at chance. The falling line says nothing about what is wanted.

## Example
Arithmetic: with 64 pairs a bias of −log 63 alone gives a SigLIP loss of log 64 + .99 = 5.15, and recall at 5 stays at
5/64. A reward model that memorizes 300 pairs ends at a training loss of .02 and a held-out accuracy of .51.

## What to do
Where training ranks and held-out samples do not: more data, fewer steps, and see whether the context predicts the
action at all (`inspect batch`). Where training does not rank either: collapsed embeddings, a learning rate that is too
high, or a loss that other terms dominate.

## Known limits
Chance of a recall is known only with the number of candidates; without it, only a ranking that never rose is reported.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import high, low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, with_interval

_FELL = Threshold(0.3, "heuristic: three tenths of the first loss are gone")
_AT_CHANCE = Threshold(0.05, "heuristic: a twentieth of the way from chance to 1")
_ROSE = Threshold(0.02, "heuristic: two points in a hundred above where it began")
_LOW = Threshold(0.2, "heuristic: a ranking that begins this high may have been learned before")

_KINDS = ("top1", "recall", "auroc", "average_precision", "correlation")
_RANKINGS = (*(f"validation_{name}" for name in _KINDS), *_KINDS)


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    fall, gap = given["run.loss.fall"], given.get("run.gap.last")
    inverted = gap is not None and high(gap) < 0
    if low(fall) < _FELL.value or inverted:
        return None
    poor = [name for name in _RANKINGS if f"run.{name}.last" in given and _is_poor(given, name)]
    trained = [name for name in _KINDS if f"run.{name}.last" in given]
    held_out = [name for name in poor if name not in _KINDS]
    if not poor or (not held_out and len(poor) < len(trained)):
        return None
    told = " and ".join(_told(given, name) for name in poor)
    memorized = held_out and not any(name in poor for name in trained)
    return Judgement(
        "critical",
        f"The loss fell by {number(fall.value)} of its first value, and {told}.",
        "Training samples are memorized, or what held-out samples ask was never trained."
        if memorized
        else "The loss falls by something else than a ranking: a bias, a scale, or embeddings that collapsed.",
    )


def _is_poor(given: Mapping[str, Measurement], name: str) -> bool:
    last, chance = given[f"run.{name}.last"], given.get(f"run.{name}.chance")
    if chance is not None:
        return high(last) < chance.value + _AT_CHANCE.value * (1 - chance.value)
    first, best = given[f"run.{name}.first"], given[f"run.{name}.best"]
    rose = max(best.value, high(last)) > first.value + _ROSE.value
    return best.n > 2 and first.value < _LOW.value and not rose


def _told(given: Mapping[str, Measurement], name: str) -> str:
    last, chance = given[f"run.{name}.last"], given.get(f"run.{name}.chance")
    words = name.replace("validation_", "held-out ").replace("_", " ").replace("top1", "top-1 accuracy")
    if chance is not None:
        return f"{words} ends at {with_interval(last)}, at chance ({number(chance.value)})"
    return f"{words} ends at {with_interval(last)} and never rose from {number(given[f'run.{name}.first'].value)}"


RULE = Rule(
    code="ED723",
    name="ranking-at-chance",
    needs=("run.loss.fall",),
    optional=(
        "run.gap.last",
        *(f"run.{name}.{what}" for name in _RANKINGS for what in ("first", "last", "best", "chance")),
    ),
    evidence=("run.loss.fall", *(f"run.{name}.last" for name in _RANKINGS)),
    thresholds={"fell": _FELL, "at chance": _AT_CHANCE, "rose": _ROSE, "low": _LOW},
    judge=_judge,
    explains=("ED708", "ED714", "ED702"),
)
