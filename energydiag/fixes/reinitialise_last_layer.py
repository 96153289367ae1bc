"""Re-initialise the last layer: a fresh start for the one layer that holds the raw values outside.

## What it changes
The weights and the bias of the linear layer that gives the raw output are drawn anew before training.

## Why it helps
Where the head's slope is exactly 0, no gradient reaches any weight and no training brings the raw values back. A fresh
last layer puts them near 0, where every head has slope, and keeps the features below it. Resetting last layers also
restores learning elsewhere (Nikishin et al. 2022, 2205.07802).

## When not to use it
On a head that still learns: the layer's knowledge is lost. It does not help when the layers below are dead too. It
needs a last layer that was found.
"""

from energydiag.fixes.editing import operated
from energydiag.fixes.fix import Fix, Patient, Refusal
from energydiag.plan import TrainingPlan


def _edit(plan: TrainingPlan, patient: Patient) -> TrainingPlan | Refusal:
    if not patient.last_layer:
        return Refusal("no linear layer was found that gives the raw output")
    return operated(plan, "reinitialise-last-layer")


FIX = Fix(
    name="reinitialise-last-layer",
    handles=("ED102",),
    changes="the last linear layer's weights are drawn anew",
    edit=_edit,
)
