"""Improved negatives: the policy's middle-energy layer, and two noisy copies of the expert's action.

## What it changes
Of the policy's layers but the last, the one with the middle mean energy becomes a negative, together with the expert's
action plus Gaussian noise of σ = 0.1 and of σ = 0.3. Whether other samples' actions are negatives as well stays as it
was.

## Why it helps
It is the design's second part. In-batch negatives are other situations' actions and far away; a correction works near
the policy's action, where nothing in such a training shaped the energy. An intermediate layer's action is plausible,
near, and worse than the expert's.

## When not to use it
In the place of the in-batch negatives: measured on simulated demonstrations with the rescaled head, these three alone
gave AUROC .71 against other samples' actions with a tenth of the learning rate and .50, a collapsed model, with the
full one. A single layer of middle energy may also be one that the energy already ranks well; `mixed-negatives` takes
them all. It needs the actions of at least two layers.
"""

from dataclasses import replace

from energydiag.fixes.fix import Fix, Patient, Refusal
from energydiag.plan import TrainingPlan


def _edit(plan: TrainingPlan, patient: Patient) -> TrainingPlan | Refusal:
    if not patient.has_layers:
        return Refusal("the training dump does not hold the actions of two layers or more")
    return replace(plan, improved_negatives=True)


FIX = Fix(
    name="improved-negatives",
    handles=("ED203",),
    changes="middle-energy layer, noise σ 0.1 and σ 0.3 as further negatives",
    edit=_edit,
)
