"""Structured negatives: the expert's action with one thing wrong.

## What it changes
The expert's chunk shifted in time, too large or too small, in the opposite direction, and with the gripper flipped
become negatives.

## Why it helps
They are the mistakes that a robot makes, and each asks the energy for something definite: timing, size, direction,
gripper. Noise asks for none of it, since almost all of its directions are no action anyone would take. A model that is
blind to one of them shows it as an AUROC near .5 against that set alone.

## When not to use it
Where one of the changes is no mistake, such as a shift by one step in a chunk that stands still. The last dimension is
taken for the gripper. A LayerNorm over the raw action hides size from the model; take it out first
(`remove-action-norm`), or that negative is a tie for ever.
"""

from energydiag.fixes.editing import mixed
from energydiag.fixes.fix import Fix, Patient, Refusal
from energydiag.plan import TrainingPlan


def _edit(plan: TrainingPlan, _patient: Patient) -> TrainingPlan | Refusal:
    return mixed(plan, "structured")


FIX = Fix(
    name="structured-negatives",
    handles=("ED203", "ED206"),
    changes="shifted, scaled, turned and gripper-flipped expert actions as further negatives",
    edit=_edit,
)
