"""Plateau at chance: the loss ends where a model that cannot tell positives from negatives would be.

## What it checks
The loss over the end of a training log against chance, which the objective sets: log(1 + N) for InfoNCE with N
negatives, log 2 for Bradley-Terry and balanced binary cross-entropy, the best bias's loss for SigLIP, the margin of
equal energies, the loss at step 0 of an unrolled descent; and how far it fell over the second half. Well above chance
is reported as well, with less certainty.

## Why it is bad
The energies tell nothing about which action belongs to which context. More of the same training changes that rarely: a
head whose slope is 0 everywhere gets no gradient, and stays.

## Example
`sample_checkpoints/runs/collapsed`: 63 negatives, chance log 64 = 4.1589. With a learning rate of 0.3 the loss is
4.15888 from step 10 to step 199, and every raw value is saturated.

## What to do
Inspect the checkpoint: a dead head, a context that does not reach the head and one learning rate for everything look
the same from here. Above chance, look for positives at the wrong index and for a sign error, and check the number of
negatives.

## Known limits
The objective has to be known or inferred (--objective), and N from the batch size, the first loss, or --negatives.
Where several processes gather their negatives, N is larger than one process's batch, and the loss seems to lie above
chance. A loss near chance beside a top-1 far above its own is no plateau at chance but a nearly uniform softmax.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import high, low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, percent, with_interval

_LEARNED = Threshold(0.05, "guess: a twentieth of the way from chance to 0 is within what N and batches leave open")
_FALLING = Threshold(0.05, "guess: a loss that fell by a twentieth over the second half may go on falling")

_RANKS = Threshold(0.2, "heuristic: a fifth of the way from a ranking's chance to 1")

_RANKINGS = ("top1", "auroc")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    last, chance, gap = (given[name] for name in ("run.objective.last", "run.objective.chance", "run.chance_gap"))
    most = high(gap)
    slope = given["run.objective.slope_last_half"].value
    if most >= _LEARNED.value or -slope > _FALLING.value * abs(last.value) or any(map(_ranks, _rankings(given))):
        return None
    if most < -_LEARNED.value:
        return Judgement(
            "warning",
            f"The loss ends at {with_interval(last)}, above chance ({number(chance.value)}).",
            "Positives at the wrong index or energies of the wrong sign are punished more than guessing; or there are "
            "more negatives than the settings say.",
        )
    saturation = given.get("run.saturation.last")
    stuck = saturation is not None and saturation.value > 0.5
    return Judgement(
        "critical",
        f"The loss ends at {with_interval(last)}; chance is {number(chance.value)}."
        + (f" {percent(saturation.value)} of the raw values are saturated." if stuck and saturation else ""),
        "The head is dead: its slope is too small for a gradient to pass."
        if stuck
        else "The energy does not depend on whether the action belongs to the context; it collapsed, or never learned.",
    )


def _rankings(given: Mapping[str, Measurement]) -> list[tuple[Measurement, Measurement]]:
    """Rankings at the end whose chance is known, with it."""
    return [
        (given[f"run.{name}.last"], given[f"run.{name}.chance"])
        for name in _RANKINGS
        if f"run.{name}.last" in given and f"run.{name}.chance" in given
    ]


def _ranks(pair: tuple[Measurement, Measurement]) -> bool:
    """Whether a ranking is well above its chance, by its whole interval."""
    last, chance = pair
    return low(last) > chance.value + _RANKS.value * (1 - chance.value)


RULE = Rule(
    code="ED701",
    name="plateau-at-chance",
    needs=("run.objective.last", "run.objective.chance", "run.chance_gap", "run.objective.slope_last_half"),
    optional=(
        *("run.saturation.last",),
        *(f"run.{name}.{what}" for name in _RANKINGS for what in ("last", "chance")),
    ),
    evidence=("run.objective.last", "run.objective.chance", "run.chance_gap", "run.auroc.last", "run.saturation.last"),
    thresholds={"learned": _LEARNED, "falling": _FALLING, "ranks": _RANKS},
    judge=_judge,
    symptom=True,
    explains=("ED705", "ED706"),
)
