"""Gradient penalty: the energy may not be steeper in the action than a correction can use.

## What it changes
A squared hinge of weight 1.0 on the norm ‖∂E/∂a‖ beyond one standard deviation of the energy per policy error is added
to the loss; where the dump holds no policy actions, noise of .05 stands for the error.

## Why it helps
A landscape with cliffs leads a step over its edge: the linear promise of the gradient holds for a tiny distance only.
Implicit Behavioral Cloning bounds the gradient with a hinge for this reason (Florence et al. 2021, 2109.00137).
Here the bound is in units of the energy's spread and of the policy's error, so it does not depend on either's scale.

## When not to use it
On a flat landscape, where it makes nothing better. It takes a second derivative of the model.
"""

from dataclasses import replace

from energydiag.fixes.fix import Fix, Patient, Refusal
from energydiag.plan import TrainingPlan

WEIGHT = 1.0


def _edit(plan: TrainingPlan, _patient: Patient) -> TrainingPlan | Refusal:
    return replace(plan, gradient_penalty=WEIGHT)


FIX = Fix(
    name="gradient-penalty",
    handles=("ED302", "ED403"),
    changes="1.0·hinge on ‖∂E/∂a‖ added to the loss",
    edit=_edit,
)
