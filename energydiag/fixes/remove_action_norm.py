"""Remove the LayerNorm over the action: let the model see an action's size and offset.

## What it changes
The LayerNorm that stands directly over the raw action is replaced by the identity.

## Why it helps
Arithmetic: LayerNorm takes each step's mean and scale away, so an action and the same action doubled or shifted have
the same energy, and ∂E/∂a is orthogonal to two of the action's dimensions. No loss can teach what the model cannot see.
Measured on simulated demonstrations, all else equal: expert above the policy's action .93 instead of .82, and the best
corrected step −2.7 % instead of −2.2 %.

## When not to use it
Where the dimensions of the action have very different scales: normalise them by dimension in the data first, since the
LayerNorm hid that. The layer above meets inputs it has not seen, so it has to be trained on. It needs such a LayerNorm.
"""

from energydiag.fixes.editing import operated
from energydiag.fixes.fix import Fix, Patient, Refusal
from energydiag.plan import TrainingPlan


def _edit(plan: TrainingPlan, patient: Patient) -> TrainingPlan | Refusal:
    if not patient.action_norm:
        return Refusal("no LayerNorm stands directly over the raw action")
    return operated(plan, f"remove-norm={patient.action_norm}")


FIX = Fix(
    name="remove-action-norm",
    handles=("ED203", "ED303", "ED502", "ED503"),
    changes="the LayerNorm directly over the raw action becomes the identity",
    edit=_edit,
)
