"""Rescaled head: a sigmoid twice as wide that bends half as fast.

## What it changes
The activation that produces the energy becomes `E = 2.0·sigmoid(0.5·raw) + 0.1`, in (0.1, 2.1). The steps are averaged
where they were: in the design's own head that is before the prediction head.

## Why it helps
It is the design's first part. Arithmetic: `2·sigmoid(r/2) + 0.1 = 1.1 + tanh(r/4)`, `sigmoid(r) = ½ + ½·tanh(r/2)`.
The range doubles exactly, and with it falls the lowest loss that can be reached: log(1 + N·exp(−R/τ)) for N = 63
negatives at τ = .5 goes from 2.25 (R = 1) to .77 (R = 2). At the same raw value the slope is cosh²(r/2)/cosh²(r/4)
times the old one: 1 at 0, 5.9 at |r| = 4, 53 at 8. In float32 it is exactly 0 beyond 33.27 instead of 16.64.

## When not to use it
Where an unbounded head may be used (`linear-head`): this one is still bounded, so its floor still pushes raw values
outwards and it saturates again, later. Both slopes peak at .25, so near raw = 0 there is nothing to gain. It needs a
model whose last activation was found.
"""

from energydiag.fixes.editing import UNKNOWN_HEAD, operated
from energydiag.fixes.fix import Fix, Patient, Refusal
from energydiag.plan import TrainingPlan


def _edit(plan: TrainingPlan, patient: Patient) -> TrainingPlan | Refusal:
    if patient.head == "unknown":
        return Refusal(UNKNOWN_HEAD)
    return operated(plan, "head=rescaled")


FIX = Fix(
    name="rescaled-head",
    handles=("ED101", "ED103", "ED702"),
    changes="E = 2.0·sigmoid(0.5·raw) + 0.1 instead of the head's activation",
    edit=_edit,
)
