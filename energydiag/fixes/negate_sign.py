"""Negate the sign: an energy that is upside down is turned round.

## What it changes
The model's answer is multiplied by −1. Where that is all there is to repair (−E has an AUROC of at least .9, and is
better on the validation samples), nothing is trained: the weights stay as they are.

## Why it helps
A loss with logits E/τ instead of −E/τ trains a perfect score under the name of an energy. AUROC of −E is 1 minus that
of E, exactly, so nothing has to be learned again.

## When not to use it
Where the energies are not inverted: it would invert them, and is refused. Where the model is meant to give a score, say
so with `--sign score` instead; then nothing needs to be changed. Energies that are inverted in part, as after training
on wrong positives, have learned something else than the opposite and are trained again after it.
"""

from energydiag.fixes.editing import operated
from energydiag.fixes.fix import Fix, Patient, Refusal
from energydiag.plan import TrainingPlan

INVERTED = "ED202"


def _edit(plan: TrainingPlan, patient: Patient) -> TrainingPlan | Refusal:
    if all(finding.code != INVERTED for finding in patient.findings):
        return Refusal("the energies were not found to be inverted; turning them round would invert them")
    return operated(plan, "negate")


FIX = Fix(name="negate-sign", handles=(INVERTED,), changes="E becomes −E", edit=_edit)
