"""Not deterministic: the same inputs give another energy the second time.

## What it checks
The mean change of E when the model is asked twice in `eval()` mode, in units of the standard deviation of E over swap
pairs.

## Why it is bad
Differences of energies decide everything: a line search, an argmin over candidates, a threshold. Below the noise they
decide nothing, and measurements that compare two calls see the noise as an effect.

## Example
The sample `healthy` with dropout of .2 over its action left on: energies move by .59 of their spread between two
calls. AUROC is .985 all the same, but eight corrected steps gain 2.5 % instead of 26 %.

## What to do
Look for dropout as a function with `training=True`, sampling in `forward`, or a module that `eval()` does not reach.

## Known limits
Atomic sums on a GPU differ in the last digits; the limit is far above that.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number

_WARNING = Threshold(1e-3, "guess: a thousand times the rounding of float32 sums")
_CRITICAL = Threshold(1.0, "guess: the noise is as large as what the energy tells apart")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    shift = given["conditioning.repeat_shift"]
    if low(shift) <= _WARNING.value:
        return None
    return Judgement(
        "critical" if low(shift) > _CRITICAL.value else "warning",
        f"The same inputs change E by {number(shift.value)} of its spread from one call to the next.",
        "Something random is at work in the model although it is in eval mode.",
    )


RULE = Rule(
    code="ED507",
    name="not-deterministic",
    needs=("conditioning.repeat_shift",),
    evidence=("conditioning.repeat_shift",),
    thresholds={"warning": _WARNING, "critical": _CRITICAL},
    judge=_judge,
    explains=("ED403", "ED504", "ED506", "ED508"),
)
