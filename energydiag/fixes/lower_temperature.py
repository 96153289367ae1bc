"""Lower temperature: τ = 0.3 at most.

## What it changes
The temperature of InfoNCE becomes 0.3 (the design's; 0.5 before). One that is lower stays.

## Why it helps
Arithmetic: a head of range R cannot get below log(1 + N·exp(−R/τ)). For N = 63 and R = 1 that is 2.25 at τ = .5 and
1.18 at τ = .3; for R = 2 it is .77 and .077. The same difference of energies also weighs more in the softmax, so the
negatives that are still close get more of the gradient.

## When not to use it
With an unbounded head, which scales its energies itself. Where p(positive) is near 1 already: a lower τ then makes
gradients rarer and spikier (`clamped-temperature` learns it instead).
"""

from dataclasses import replace

from energydiag.fixes.fix import Fix, Patient, Refusal
from energydiag.plan import TrainingPlan

TAU = 0.3


def _edit(plan: TrainingPlan, _patient: Patient) -> TrainingPlan | Refusal:
    return replace(plan, tau=min(plan.tau, TAU))


FIX = Fix(
    name="lower-temperature",
    handles=("ED103", "ED201", "ED204", "ED702", "ED724"),
    changes="τ = 0.3 at most",
    edit=_edit,
)
