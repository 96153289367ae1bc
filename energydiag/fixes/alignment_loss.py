"""Alignment loss: the energy's descent direction is taught to point at the expert's action.

## What it changes
2.0 times the mean of 1 − cos(−∂E/∂a, a* − a), at the mixed-in actions a, is added to the loss. Where the plan mixes in
none, noise is mixed in.

## Why it helps
Inference follows −∂E/∂a; a contrast of energies at single points says little about slopes between them. This says it
outright. For Gaussian noise the direction to the clean action is what denoising score matching learns (Vincent 2011).
Measured on simulated demonstrations (weight 0.5): cosine at the policy's action from .21 to .32, action error after
one corrected step from −2.7 to −5.6 %. The recipe of `--fix auto` was found with 2.0.

## When not to use it
Where several actions are right in one context: all directions then point at the one that was demonstrated. It takes a
second derivative of the model, so activations that have none and fused attention kernels do not work. A head whose
slope is zero has no direction to be taught: mend the head first.
"""

from dataclasses import replace

from energydiag.fixes.editing import with_near_negatives
from energydiag.fixes.fix import Fix, Patient, Refusal
from energydiag.plan import TrainingPlan

WEIGHT = 2.0


def _edit(plan: TrainingPlan, _patient: Patient) -> TrainingPlan | Refusal:
    return replace(with_near_negatives(plan), alignment=WEIGHT)


FIX = Fix(
    name="alignment-loss",
    handles=("ED203", "ED303", "ED304", "ED401", "ED402", "ED403"),
    changes="2.0·(1 − cos(−∂E/∂a, a* − a)) added to the loss",
    edit=_edit,
)
