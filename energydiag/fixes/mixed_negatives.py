"""Mixed negatives: far ones and near ones in one contrast.

## What it changes
Other samples' expert actions, every layer's actions (or, where the dump holds no layers, the policy's) and the expert's
action with noise of three strengths are negatives of one InfoNCE.

## Why it helps
Other samples' actions teach that the context matters; near ones teach what a correction needs, the order of actions
beside the expert's. Measured on simulated demonstrations: with in-batch negatives alone the expert was ranked above the
policy in .45 to .48 of the samples, with near ones alone the AUROC against other samples fell to .71 or to chance;
mixed, .82 and .98. Hard negatives in contrastive learning: Robinson et al. 2021 (2010.04592).

## When not to use it
Where a layer's action is as good as the expert's: it is then a false negative in every sample. Noise strengths are in
action units and meant for actions scaled to [-1, 1].
"""

from dataclasses import replace

from energydiag.fixes.editing import mixed
from energydiag.fixes.fix import Fix, Patient, Refusal
from energydiag.plan import TrainingPlan


def _edit(plan: TrainingPlan, patient: Patient) -> TrainingPlan | Refusal:
    near = ("layers",) if patient.has_layers else ("policy",) if patient.has_policy else ()
    return mixed(replace(plan, swap=True), *near, "noise")


FIX = Fix(
    name="mixed-negatives",
    handles=("ED201", "ED203", "ED206", "ED207", "ED303", "ED401", "ED402", "ED404", "ED501", "ED502"),
    changes="other samples' actions, every layer's actions and noise as negatives of one contrast",
    edit=_edit,
)
