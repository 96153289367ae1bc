"""Always clipped: every gradient is cut, and by far.

## What it checks
The share of logged steps whose gradient was clipped (the lower end of its interval), and the median of norm over
limit.

## Why it is bad
With plain SGD a step is then as short as the limit makes it, whatever the rate says: a factor of 100 is a hundredth of
the rate. And all that the gradient's length could tell, such as an explosion, is cut away unseen.

## Example
Arithmetic: norm 40 at a limit of .3 is a factor of 133. In `sample_checkpoints/runs/healthy` every step is clipped by
about 10, under AdamW, which divides by the gradient's size anyway; nothing is wrong with it, and nothing is said.

## What to do
Find out why gradients are so long (energies, one over the temperature); then set the limit near the usual norm.

## Known limits
Needs the norm before clipping and the limit. Under Adam the harm is small.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, percent

_SHARE = Threshold(0.95, "guess: nearly every step")
_FACTOR = Threshold(100, "guess: a healthy run under AdamW is clipped by 10 at every step")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    share, factor = given["run.clipping_share"], given["run.clipping_factor"].value
    if low(share) <= _SHARE.value or factor < _FACTOR.value:
        return None
    return Judgement(
        "warning",
        f"{percent(share.value)} of the steps are clipped, the median one to a {number(factor)}th of its length.",
        "The limit is far below what gradients are here, or gradients have grown far beyond what it was made for.",
    )


RULE = Rule(
    code="ED713",
    name="always-clipped",
    needs=("run.clipping_share", "run.clipping_factor"),
    optional=("run.gradient.norm.median",),
    evidence=("run.clipping_share", "run.clipping_factor", "run.gradient.norm.median"),
    thresholds={"share": _SHARE, "factor": _FACTOR},
    judge=_judge,
)
