"""Debiased loss: the share of false negatives is taken out of the denominator.

## What it changes
InfoNCE's sum over negatives is corrected by the part that false negatives are expected to make up, a tenth of them.

## Why it helps
In a batch of the same task, other samples' actions may be right here too. They are pushed up all the same, against
what their own samples teach. Chuang et al. (2020, 2007.00224) estimate the sum over true negatives from the sum over
all and the positive.

## When not to use it
Where false negatives can be told one by one: `false-negative-filter` leaves out those that are, instead of an average
share. With few negatives the estimate is rough, and its lower bound was made for similarities in [-1, 1], not for
unbounded energies.
"""

from dataclasses import replace

from energydiag.fixes.fix import Fix, Patient, Refusal
from energydiag.plan import TrainingPlan


def _edit(plan: TrainingPlan, _patient: Patient) -> TrainingPlan | Refusal:
    return replace(plan, contrast="debiased")


FIX = Fix(
    name="debiased-loss",
    handles=("ED201", "ED603"),
    changes="the expected share of false negatives is taken out of InfoNCE's denominator",
    edit=_edit,
)
