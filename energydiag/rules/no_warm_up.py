"""No warm-up: the learning rate begins at its peak and the loss leaps up, or warm-up never ends.

## What it checks
Either the first logged rate over the highest, together with how far above its first value the loss came within the
first tenth of the log; or where in the log the rate reached its highest value, where it began below half of that.

## Why it is bad
Adam's first steps are as long as the rate says, whatever the gradient: its averages hold one batch. On weights that
know nothing, such steps carry a bounded head to where its slope is 0, and what was pretrained is overwritten. A rate
that still rises when training ends was never what the settings say.

## Example
Arithmetic: at rate .03 a hundred steps of Adam in one direction move every weight by 3, thirty times what a layer of
width 100 begins with. `sample_checkpoints/runs/collapsed` began at its peak, too, but its loss went to chance at once
and not above, so that its plateau is told instead.

## What to do
Let the rate rise over the first hundredth to twentieth of the steps, or lower it (`lower-learning-rate`). Where
warm-up never ends, check the number of steps that it was made for: epochs taken for steps, or a run that was cut short.

## Known limits
Needs the rate in the log. A log that begins after the first steps does not show its start. A run that goes on from a
trained model also begins at its peak, and needs no warm-up where its optimiser's state was kept.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, percent

_BEGINS = Threshold(0.5, "guess: from half of the peak on it is no warm-up")
_LEAP = Threshold(2.0, "guess: twice the first loss on top of it is more than batches differ by")
_LATE = Threshold(
    0.9, "guess: a rate that is highest in the last tenth has not been what it should for most of the run"
)


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    begins, peak_at = given["run.learning_rate.warmup"].value, given["run.learning_rate.peak_at"].value
    leap = given.get("run.loss.early_rise")
    if begins >= _BEGINS.value and leap is not None and leap.value > _LEAP.value:
        return Judgement(
            "warning",
            f"The learning rate began at {percent(begins)} of its peak, and the loss rose by {percent(leap.value)} of "
            "its first value within the first tenth of the log.",
            "The first steps are too long for weights that know nothing yet.",
        )
    if begins < _BEGINS.value and peak_at > _LATE.value:
        return Judgement(
            "warning",
            f"The learning rate began at {number(begins)} of its peak, reached after {percent(peak_at)} of the log.",
            "Warm-up was made for more steps than there were.",
        )
    return None


RULE = Rule(
    code="ED720",
    name="no-warm-up",
    needs=("run.learning_rate.warmup", "run.learning_rate.peak_at"),
    optional=("run.loss.early_rise", "run.learning_rate.peak"),
    evidence=("run.learning_rate.warmup", "run.learning_rate.peak_at", "run.loss.early_rise", "run.learning_rate.peak"),
    thresholds={"begins": _BEGINS, "leap": _LEAP, "late": _LATE},
    judge=_judge,
    fixes=("lower-learning-rate",),
    symptom=True,  # accumulated gradients and spikes of other kinds leap, too
)
