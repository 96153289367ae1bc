"""Lower learning rate: a tenth of what it was.

## What it changes
The learning rate is multiplied by 0.1 (the design's).

## Why it helps
A rate that is too high is how a bounded head dies: a few steps carry every raw value to where its slope is exactly 0,
and no later step brings one back. Adam's steps have the size of the rate, whatever the size of the gradient (Kingma &
Ba 2015, 1412.6980, §2.1), so clipping alone does not prevent it.

## When not to use it
On a model that is not at risk: a tenth of the rate is a tenth of the way in the same number of steps. On a head that is
dead already it changes nothing by itself; draw the weights anew (`fresh-weights`) first.
"""

from dataclasses import replace

from energydiag.fixes.fix import Fix, Patient, Refusal
from energydiag.plan import TrainingPlan

FACTOR = 0.1


def _edit(plan: TrainingPlan, patient: Patient) -> TrainingPlan | Refusal:
    return replace(plan, learning_rate=FACTOR * patient.learning_rate)


FIX = Fix(
    name="lower-learning-rate",
    handles=("ED102", "ED104", "ED108", "ED302", "ED703", "ED704", "ED710", "ED715", "ED720", "ED725"),
    changes="learning rate ×0.1",
    edit=_edit,
)
