"""Weak weights: weight decay holds most layers far below the size they were drawn with.

## What it checks
The root mean square of a layer's weights over that of weights as PyTorch draws them, in the middle one of all layers,
where the loss on swap pairs is still more than a third of chance.

## Why it is bad
Training makes weights grow where it learns: energies must come to lie several temperatures apart. A decay that takes
away more than the loss puts back holds the energies together, so that the softmax stays flat and the gradient to the
action weak, however long the training lasts.

## Example
AdamW with a weight decay of 10 at a learning rate of 5e-3: the middle layer of an MLP has .39 of a fresh one's size,
that of an attention head .06, where a weight decay of at most .1 leaves 1.06 and more. The MLP still ranks well; its
loss is 1.8 instead of .8.

## What to do
Lower the weight decay (.01 to .1 is usual for AdamW), leave biases and norms out of it, and train from fresh weights.
AdamW takes the learning rate times the decay from every weight at every step: compare the sum of that over the run
with 1.

## Known limits
Weights that were drawn small on purpose, as with a standard deviation of .02 in narrow layers, look alike before they
have grown. Norms behind small layers undo their size, so the model may be well; then its loss is low, and it is not
reported. Weights that are all but zero are a finding of their own.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, with_interval

_SMALL = Threshold(0.6, "calibrated on the fault benchmark: healthy at least 1.06, faulty at most 0.5")
_NONE = Threshold(0.01, "vanished-weights' own limit: below it there is nothing left that decays")
_LOSS = Threshold(1 / 3, "guess, of chance: what does as well as that is well; calibration's faulty have at least 0.44")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    size, loss = given["weights.rms_relative.median"].value, given["loss.swap"]
    if not _NONE.value <= size < _SMALL.value or low(loss) <= _LOSS.value * given["loss.swap.chance"].value:
        return None
    return Judgement(
        "warning",
        f"The middle layer's weights have {number(size)} of a fresh layer's size, and the loss is "
        f"{with_interval(loss)}.",
        "Weight decay takes away more than the loss puts back.",
    )


RULE = Rule(
    code="ED310",
    name="weak-weights",
    needs=("weights.rms_relative.median", "loss.swap", "loss.swap.chance"),
    optional=("weights.rms_relative.min", "weights.rms_relative.max"),
    evidence=("weights.rms_relative.median", "weights.rms_relative.min", "weights.rms_relative.max", "loss.swap"),
    thresholds={"small": _SMALL, "none": _NONE, "loss": _LOSS},
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
        "ED311",
        "ED401",
        "ED402",
        "ED501",
        "ED502",
        "ED701",
    ),
)
