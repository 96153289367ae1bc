"""Decoupled loss: the positive is left out of its own denominator.

## What it changes
InfoNCE becomes the decoupled contrastive loss: −log(exp(s₊) / Σ₋ exp(s₋)) with s = −E/τ.

## Why it helps
The gradient of InfoNCE carries the factor 1 − p(positive), which vanishes as soon as the negatives are easy; with few
negatives that is soon. Without the positive in the denominator the factor is gone (Yeh et al. 2022, 2110.06848).

## When not to use it
With an unbounded head without `energy-anchor`: this loss has no lower end, and the gap grows for ever. Its value cannot
be compared with InfoNCE's, its floor or its chance level.
"""

from dataclasses import replace

from energydiag.fixes.fix import Fix, Patient, Refusal
from energydiag.plan import TrainingPlan


def _edit(plan: TrainingPlan, _patient: Patient) -> TrainingPlan | Refusal:
    return replace(plan, contrast="decoupled")


FIX = Fix(
    name="decoupled-loss",
    handles=("ED201",),
    changes="the positive is left out of InfoNCE's denominator",
    edit=_edit,
)
