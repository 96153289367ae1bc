"""Nearly uniform softmax: training ranks well, and the loss can hardly show it.

## What it checks
The loss at the end of a log against its top-1: e^(−loss) is the probability, as a geometric mean, that the softmax
gives to the expert's action. Where the expert's action comes first in most contexts and yet gets a small part of that,
the softmax is nearly uniform over a right ranking.

## Why it is bad
The loss is a flat line far above 0, and its gradient keeps pushing what is ranked rightly already. The usual reasons
are energies in a narrow range (a cosine without a scale, a sigmoid) and a temperature that is too high for them.

## Example
Arithmetic: cosines at τ = 1 with 127 negatives cannot bring InfoNCE below log(1 + 127·e^(−1.008)) = 3.86, chance being
4.85, however well they rank. A log that ends at 3.92 with a top-1 of .9 gives the right action .02 on average.

## What to do
Lower the temperature, or learn it (`lower-temperature`, `clamped-temperature`); or give the energy a range
(`linear-head`). `--head` and `--tau` let the floor be computed.

## Known limits
A queue of many thousand keys has a high loss at a good top-1 as well, since each near key takes its part; and labels
that are smoothed raise the floor. Hence a warning.
"""

from collections.abc import Mapping
from math import exp

from energydiag.results import Measurement
from energydiag.rules.ends import high, low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, with_interval

_RANKS = Threshold(0.5, "heuristic: the expert's action comes first in most contexts")
_UNSURE = Threshold(0.1, "heuristic: the softmax trusts it less than a tenth as much as it deserves")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    last, top1 = given["run.objective.last"], given["run.top1.last"]
    trust = exp(-max(high(last), 0.0))
    if low(top1) <= _RANKS.value or exp(-max(low(last), 0.0)) >= _UNSURE.value * top1.value:
        return None
    return Judgement(
        "warning",
        f"The loss ends at {with_interval(last)}: the softmax gives the expert's action {number(trust)} on average, "
        f"though it comes first in {number(top1.value)} of the contexts. The softmax is nearly uniform over a right "
        "ranking.",
        "The temperature is too high for the range of the energies, or the energies are bounded: the loss is near its "
        "floor and cannot show what was learned.",
    )


RULE = Rule(
    code="ED724",
    name="nearly-uniform-softmax",
    needs=("run.objective.last", "run.top1.last"),
    evidence=("run.objective.last", "run.top1.last"),
    thresholds={"ranks": _RANKS, "unsure": _UNSURE},
    judge=_judge,
    symptom=True,
    fixes=("lower-temperature", "clamped-temperature", "linear-head"),
)
