"""Clamped temperature: τ is learned, within limits.

## What it changes
τ becomes a parameter on a logarithmic scale, from where the plan has it, kept within 0.01 and 10.

## Why it helps
The right τ depends on the energy's scale, which changes while it is trained. CLIP learns it with the weights and clamps
it, since without a limit it runs away and gradients, which go with 1/τ, explode (Radford et al. 2021, 2103.00020).

## When not to use it
With an unbounded head: τ and the energy's scale are then the same freedom twice. With a bounded head it may fall until
only the hardest negative counts, and that one may be false.
"""

from dataclasses import replace

from energydiag.fixes.fix import Fix, Patient, Refusal
from energydiag.plan import TrainingPlan


def _edit(plan: TrainingPlan, _patient: Patient) -> TrainingPlan | Refusal:
    return replace(plan, temperature="learnable")


FIX = Fix(
    name="clamped-temperature",
    handles=("ED103", "ED204", "ED205", "ED302", "ED707", "ED718", "ED724"),
    changes="τ is learned, within [0.01, 10]",
    edit=_edit,
)
