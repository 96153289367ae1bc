"""Strong dropout: most of the model is missing while it learns.

## What it checks
The largest rate among the model's dropout layers, as the model was given.

## Why it is bad
An energy is a sum of fine differences between actions. Where most units are missing in every step, training fits what
survives that, which is coarse, and every step sees another function.

## Example
The fault benchmark's models with a rate of .8: AUROC .94 to .98 where healthy ones have .97 to .99, the expert hardly
told from the policy's actions, and following the energy does not help.

## What to do
Train without dropout, above all over the action (`no-dropout`), or with .1.

## Known limits
A state dict holds no rates: those of the rebuilt model count. Give your own module with `--model` to have its own rates
looked at. Dropout that is called as a function inside of a `forward` is not seen.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number

_RATE = Threshold(0.5, "Srivastava et al. 2014: usual rates of hidden units are .2 to .5")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    rate = given["model.dropout"]
    if rate.value <= _RATE.value:
        return None
    return Judgement(
        "warning",
        f"A dropout layer leaves out {number(rate.value)} of its inputs in training.",
        "What is trained is a small random part of the model at every step, and not the model that is used.",
    )


RULE = Rule(
    code="ED510",
    name="strong-dropout",
    needs=("model.dropout",),
    optional=("conditioning.train_eval_shift",),
    evidence=("model.dropout", "conditioning.train_eval_shift"),
    thresholds={"rate": _RATE},
    judge=_judge,
    explains=(
        "ED101",
        "ED201",
        "ED203",
        "ED206",
        "ED401",
        "ED402",
        "ED403",
        "ED506",
        "ED708",
    ),
    fixes=("no-dropout",),
)
