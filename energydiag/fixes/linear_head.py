"""Linear head: the raw value is the energy.

## What it changes
The activation that produces the energy is taken away, τ becomes 1 (without a range, a temperature is only a unit), and
an L2 anchor of weight 0.001 on the energies keeps them from drifting.

## Why it helps
InfoNCE asks for differences of energies without an upper end. A head of range R cannot give more than R, so its loss
stops at log(1 + N·exp(−R/τ)) and its gradient pushes raw values onto the flat ends for ever; a linear head has floor 0
and slope 1 everywhere, for the weights and for the action. The anchor is the energy regulariser of Du & Mordatch (2019,
1903.08689). Measured on simulated demonstrations, same policy and data: median ‖∂E/∂a‖ 26 instead of 4e-5, expert above
the policy's action .82 instead of .45 of the samples, with mixed negatives at τ = 1.

## When not to use it
Where what reads the energy relies on its range (a threshold at .5, a probability). With swap negatives alone: it ranks
well and leads actions astray when followed for several steps, so `--fix auto` takes near negatives and the losses that
shape the field with it. It needs a model whose last activation was found, and changes nothing on a head that is linear.
"""

from dataclasses import replace

from energydiag.fixes.editing import UNKNOWN_HEAD, operated
from energydiag.fixes.energy_anchor import WEIGHT
from energydiag.fixes.fix import Fix, Patient, Refusal
from energydiag.plan import TrainingPlan

TAU = 1.0


def _edit(plan: TrainingPlan, patient: Patient) -> TrainingPlan | Refusal:
    if patient.head == "unknown":
        return Refusal(UNKNOWN_HEAD)
    if patient.head == "linear":
        return Refusal("the head is linear already")
    return replace(operated(plan, "head=linear"), tau=TAU, anchor=WEIGHT)


FIX = Fix(
    name="linear-head",
    handles=("ED101", "ED102", "ED103", "ED204", "ED301", "ED303", "ED702", "ED724"),
    changes="E = raw instead of the head's activation, τ = 1, anchor 0.001·E²",
    edit=_edit,
)
