"""No dropout while training: the energy field is learned without blur.

## What it changes
Every dropout module gets probability 0 during training.

## Why it helps
Dropout over the action tokens hides parts of the action at random: the same action gets another energy, and another
slope, at every step. What is learned is an average over hidden parts, measured here to blur the field that corrections
follow. At inference dropout is off, so training meets the function that will be followed.

## When not to use it
On very little data, where dropout keeps the head from learning it by heart; watch the validation samples.
"""

from dataclasses import replace

from energydiag.fixes.fix import Fix, Patient, Refusal
from energydiag.plan import TrainingPlan


def _edit(plan: TrainingPlan, _patient: Patient) -> TrainingPlan | Refusal:
    return replace(plan, dropout=0.0)


FIX = Fix(name="no-dropout", handles=("ED506", "ED510"), changes="dropout 0 while training", edit=_edit)
