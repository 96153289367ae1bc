"""Oscillation: the loss swings with a fixed period instead of settling.

## What it checks
Fisher's test for a hidden period over the second half of the log: the largest share of the loss's variance that lies
in one period, against what noise as smooth as this one gives once in a thousand times; and how large that wave is
beside the loss.

## Why it is bad
Where steps are longer than the valley is wide, they jump from wall to wall: the loss is as good as its worst phase,
and the checkpoint that is kept depends on the moment.

## Example
A loss of 2 ± .3 that goes up and down every second row: one period holds nearly all of the variance, with an amplitude
of 15 %. In `sample_checkpoints/runs/original` the largest share is .13; noise as smooth reaches .40 once in
a thousand times.

## What to do
Lower the learning rate (`lower-learning-rate`), or let it fall (`cosine-schedule`). If the period is that of an epoch,
shuffle the data.

## Known limits
Steps between two rows are not seen, so a fast swing shows as a slow one. Swings of which fewer than four fit into the
second half are taken for a trend.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, percent

_SHARE = Threshold(0.25, "guess: a quarter of the variance in one period is worth a look, however long the log is")
_AMPLITUDE = Threshold(0.05, "guess: a twentieth of the loss")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    share, amplitude = given["run.oscillation"], given["run.oscillation.amplitude"].value
    if share.value <= max(_SHARE.value, given["run.oscillation.noise"].value) or amplitude <= _AMPLITUDE.value:
        return None
    period = given.get("run.oscillation.period")
    every = "" if period is None else f" of {number(period.value)} steps"
    return Judgement(
        "warning",
        f"{percent(share.value)} of the loss's variance over the second half lie in one period{every}; it swings by "
        f"±{percent(amplitude)}.",
        "Steps are too long for the valley they are in, or the data come in the same order again and again.",
    )


RULE = Rule(
    code="ED704",
    name="oscillation",
    needs=("run.oscillation", "run.oscillation.noise", "run.oscillation.amplitude"),
    optional=("run.oscillation.period",),
    evidence=("run.oscillation", "run.oscillation.noise", "run.oscillation.amplitude", "run.oscillation.period"),
    thresholds={"share": _SHARE, "amplitude": _AMPLITUDE},
    judge=_judge,
    symptom=True,
    fixes=("lower-learning-rate", "cosine-schedule"),
)
