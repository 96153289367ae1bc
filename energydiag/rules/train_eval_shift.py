"""Train-eval shift: in training mode the model is another function than in use.

## What it checks
The mean change of E from `eval()` to `train()` mode on the same inputs, in units of the standard deviation of E over
swap pairs. Where the model has dropout, which moves E at usual rates too, only extreme values are reported.

## Why it is bad
Training shaped the function with dropout and the statistics of each batch; the one without is what is used. Where the
two differ by more than the energies themselves, the loss of training says little about it, and every action gets
another slope at every step.

## Example
The sample `healthy`: with dropout .1 training mode moves E by .25 of its spread, with .2 by .34, with .5 by .65, with
.9 by 1.4. The last one is reported.

## What to do
Train without dropout (`no-dropout`), above all over the action tokens; put LayerNorm in the place of batch
normalisation.

## Known limits
A state dict does not hold dropout rates: those of the rebuilt model count, and the run may have had others. The
expert's action and one other are looked at. Where energies are nearly the same everywhere, any shift is large beside
their spread: the rule is silent, and the collapse has findings of its own.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.collapse import NEEDED, RELATIVE, SPREAD, TOLD, collapsed
from energydiag.rules.ends import low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number

_SHIFT = Threshold(
    0.35,
    "calibrated on the fault benchmark: .44 and more with stale batch statistics, .25 and below in all others",
)
_DROPPED = Threshold(0.75, "the sample `healthy` with dropout .5, the most that is usual, has .65")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    shift = given["conditioning.train_eval_shift"]
    dropout = given.get("model.dropout")
    if collapsed(given) or low(shift) <= (_DROPPED if dropout is not None and dropout.value > 0 else _SHIFT).value:
        return None
    return Judgement(
        "warning",
        f"Training mode changes E by {number(shift.value)} of its spread.",
        "Dropout or batch statistics move the energy farther than a wrong action does.",
    )


RULE = Rule(
    code="ED506",
    name="train-eval-shift",
    needs=("conditioning.train_eval_shift",),
    optional=("model.dropout", *NEEDED),
    evidence=("conditioning.train_eval_shift",),
    thresholds={
        "shift": _SHIFT,
        "with dropout": _DROPPED,
        "collapse": SPREAD,
        "relative collapse": RELATIVE,
        "told": TOLD,
    },
    judge=_judge,
    explains=(
        "ED101",
        "ED102",
        "ED108",
        "ED201",
        "ED203",
        "ED206",
        "ED401",
        "ED402",
        "ED403",
        "ED708",
    ),
    fixes=("no-dropout",),
)
