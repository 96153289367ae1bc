"""Softplus head: energies above 0 without an upper end.

## What it changes
The activation that produces the energy becomes `softplus(raw) + 1e-6`, and an L2 anchor of weight 0.001 on the energies
keeps them from drifting.

## Why it helps
Negatives can be pushed up without end, at slope 1, so the loss has no floor (see `linear-head`), while the energy stays
positive for code that takes its logarithm or its root. Measured on simulated demonstrations with swap and the improved
negatives at τ = .3: median ‖∂E/∂a‖ 2.3 instead of 4e-5, expert above the policy's action .71 instead of .45.

## When not to use it
Where nothing asks for positive energies: `linear-head` has no flat side at all. Here the slope vanishes where raw is
very negative, which is where training sends the best actions. On a dead head, re-initialise the last layer as well. It
needs a model whose last activation was found.
"""

from dataclasses import replace

from energydiag.fixes.editing import UNKNOWN_HEAD, operated
from energydiag.fixes.energy_anchor import WEIGHT
from energydiag.fixes.fix import Fix, Patient, Refusal
from energydiag.plan import TrainingPlan


def _edit(plan: TrainingPlan, patient: Patient) -> TrainingPlan | Refusal:
    if patient.head == "unknown":
        return Refusal(UNKNOWN_HEAD)
    if patient.head == "softplus":
        return Refusal("the head is a softplus already")
    return replace(operated(plan, "head=softplus"), anchor=WEIGHT)


FIX = Fix(
    name="softplus-head",
    handles=("ED101", "ED103", "ED702"),
    changes="E = softplus(raw) + 1e-6 instead of the head's activation, anchor 0.001·E²",
    edit=_edit,
)
