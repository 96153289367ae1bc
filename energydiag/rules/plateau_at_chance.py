"""Plateau at chance: the contrastive loss ends where a model that cannot tell would be.

## What it checks
InfoNCE over the end of a training log against chance, log(1 + N) for N negatives, and how far it fell over the second
half. Well above chance is told as well, with less certainty.

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
N has to be known from the batch size, or told (--negatives). Where several processes gather their negatives, N is
larger than one process's batch, and the loss seems to lie above chance.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import high
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, percent, with_interval

_LEARNED = Threshold(0.05, "guess: a twentieth of the way from chance to 0 is within what N and batches leave open")
_FALLING = Threshold(0.05, "guess: a loss that fell by a twentieth over the second half may go on falling")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    last, chance, gap = (given[name] for name in ("run.info_nce.last", "run.info_nce.chance", "run.chance_gap"))
    most = high(gap)
    slope = given["run.info_nce.slope_last_half"].value
    if most >= _LEARNED.value or -slope > _FALLING.value * abs(last.value):
        return None
    if most < -_LEARNED.value:
        return Judgement(
            "warning",
            f"InfoNCE ends at {with_interval(last)}, above chance ({number(chance.value)}).",
            "Positives at the wrong index or energies of the wrong sign are punished more than guessing; or there are "
            "more negatives than the settings say.",
        )
    saturation = given.get("run.saturation.last")
    stuck = saturation is not None and saturation.value > 0.5
    return Judgement(
        "critical",
        f"InfoNCE ends at {with_interval(last)}; chance is {number(chance.value)}."
        + (f" {percent(saturation.value)} of the raw values are saturated." if stuck and saturation else ""),
        "The head is dead: its slope is too small for a gradient to pass."
        if stuck
        else "The energy does not depend on whether the action belongs to the context, and stays so.",
    )


RULE = Rule(
    code="ED701",
    name="plateau-at-chance",
    needs=("run.info_nce.last", "run.info_nce.chance", "run.chance_gap", "run.info_nce.slope_last_half"),
    optional=("run.saturation.last", "run.auroc.last"),
    evidence=("run.info_nce.last", "run.info_nce.chance", "run.chance_gap", "run.auroc.last", "run.saturation.last"),
    thresholds={"learned": _LEARNED, "falling": _FALLING},
    judge=_judge,
    symptom=True,
    explains=("ED705", "ED706"),
)
