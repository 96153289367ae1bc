"""Adaptive temperature: half of the base τ while the energy gap is small, twice of it while the gap is large.

## What it changes
At every step τ is 0.5, times 0.5 where |mean E₋ − mean E₊| over the in-batch swap table is below 0.1, times 2 where it
is above 1.0; it stays within 0.1 and 2.0.

## Why it helps
It is the design's third, optional part. A lower τ sharpens the softmax while energies lie close together, and lowers
the floor log(1 + N·exp(−R/τ)) of a bounded head.

## When not to use it
With a head of range 1 (a sigmoid) the gap never exceeds 1, so τ is never raised. The absolute value does not tell an
inverted gap from a right one: repair the sign first (`negate-sign`). A batch of one has no negative and no gap. With an
unbounded head a temperature is only a change of units, and one that jumps makes losses of different steps incomparable.
"""

from dataclasses import replace

from energydiag.fixes.fix import Fix, Patient, Refusal
from energydiag.plan import TrainingPlan

BASE_TAU = 0.5


def _edit(plan: TrainingPlan, _patient: Patient) -> TrainingPlan | Refusal:
    return replace(plan, temperature="adaptive", tau=BASE_TAU)


FIX = Fix(
    name="adaptive-temperature",
    handles=("ED103", "ED201", "ED204", "ED205", "ED718"),
    changes="τ = 0.5, ×0.5 while the gap is below 0.1, ×2 above 1.0, within [0.1, 2.0]",
    edit=_edit,
)
