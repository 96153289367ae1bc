"""Shrinking weights: the norm of all weights falls to a part of what it was.

## What it checks
The norm of all weights at the end of the log over the first one, where gradients reach the weights at all.

## Why it is bad
Training makes weights grow where it learns. A norm that falls by half says that weight decay takes away more than the
loss puts back: energies stay close together, and the weights end where the two are even, not where the loss is lowest.

## Example
AdamW with a weight decay of 10 at a learning rate of 5e-3: the norm ends at .47 of its start in an MLP and at .04 in
an attention head, which has forgotten all it knew. With a weight decay of at most .1 it ends between 1.0 and 1.8.

## What to do
Lower the weight decay (.01 to .1 is usual for AdamW) and train from fresh weights. AdamW takes the
learning rate times the decay from every weight at every step: the sum of that over the run should be well below 1.

## Known limits
Needs the norm of the weights in the log. Weights that began far too large may rightly shrink, and a few large biases
may be most of the norm. Where no gradient is left even a usual decay shows; the rule is silent then.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number

_SHRUNK = Threshold(
    0.52, "calibrated on the fault benchmark: healthy at least 1.0, other faults 0.55, too strong a decay at most 0.49"
)
_GRADIENT = Threshold(1e-5, "guess: with shorter ones nothing is learned, and that is why weights only decay")
_POINTS = Threshold(8, "guess: of fewer points the first may be one of another run")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    last, gradient = given["run.weight_norm.last"], given.get("run.gradient.norm.median")
    if gradient is not None and gradient.value < _GRADIENT.value:
        return None
    if last.value >= _SHRUNK.value or last.n < _POINTS.value:
        return None
    return Judgement(
        "warning",
        f"The norm of the weights ends at {number(last.value)} of what it was at first.",
        "Weight decay takes away more than the loss puts back.",
    )


RULE = Rule(
    code="ED716",
    name="shrinking-weights",
    needs=("run.weight_norm.last",),
    optional=("run.loss.fall", "run.gradient.norm.median", "run.learning_rate.peak"),
    evidence=("run.weight_norm.last", "run.loss.fall", "run.learning_rate.peak"),
    thresholds={"shrunk": _SHRUNK, "gradient": _GRADIENT, "points": _POINTS},
    judge=_judge,
    explains=(
        "ED201",
        "ED203",
        "ED204",
        "ED206",
        "ED301",
        "ED303",
        "ED306",
        "ED307",
        "ED310",
        "ED311",
        "ED401",
        "ED402",
        "ED501",
        "ED502",
        "ED701",
        "ED706",
    ),
)
