"""Loss spikes: now and then the loss jumps far above its surroundings.

## What it checks
Points above the median of the eleven around them by six robust standard deviations and by a tenth: two at least, the
highest by half of what is around it.

## Why it is bad
A spike is a step that broke something. Small ones heal; each may be the one that does not.

## Example
A loss of 1.2 ± .05 with rows of 2.4 and 3.1. In `sample_checkpoints/runs/` no log has one.

## What to do
Clip gradients (`clip-gradients`), lower the rate (`lower-learning-rate`), raise a temperature below .05, and look at
the batches of those steps.

## Known limits
Steps between two rows are not seen; a spike that lasts for more than five rows is no spike here.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import percent

_COUNT = Threshold(2, "guess: one may be a bad batch")
_HEIGHT = Threshold(0.5, "guess: half as much again as around it")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    count, height = given["run.spikes"], given["run.spikes.height"].value
    if count.value < _COUNT.value or height <= _HEIGHT.value:
        return None
    return Judgement(
        "warning",
        f"{count.value:.0f} of {count.n} values of the loss stand far above their surroundings, the highest by "
        f"{percent(height)}.",
        "Some batches give gradients that carry the weights too far: few samples decide at a low temperature.",
    )


RULE = Rule(
    code="ED715",
    name="loss-spikes",
    needs=("run.spikes", "run.spikes.height"),
    optional=("run.gradient.norm.max", "run.gradient.norm.median"),
    evidence=("run.spikes", "run.spikes.height", "run.gradient.norm.max", "run.gradient.norm.median"),
    thresholds={"count": _COUNT, "height": _HEIGHT},
    judge=_judge,
    symptom=True,
    fixes=("clip-gradients", "lower-learning-rate"),
)
