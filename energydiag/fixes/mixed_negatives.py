"""Mixed negatives: far ones and near ones in one contrast.

## What it changes
Other samples' expert actions, every layer's actions (or, where the dump holds no layers, the policy's) and the expert's
action with noise of three strengths are negatives of one InfoNCE. Where a step has fewer than 32 contexts, it gets a
multiple of them that reaches 32, as far as there are samples.

## Why it helps
Other samples' actions teach that the context matters; near ones teach what a correction needs, the order of actions
beside the expert's. Measured on simulated demonstrations: with in-batch negatives alone the expert was ranked above the
policy in .45 to .48 of the samples, with near ones alone the AUROC against other samples fell to .71 or to chance;
mixed, .82 and .98. Hard negatives in contrastive learning: Robinson et al. 2021 (2010.04592). With two contexts a step
there is one negative from elsewhere beside five near ones, and the context is unlearned: measured on such runs, AUROC
.92 before and .81 after.

## When not to use it
Where a layer's action is as good as the expert's: it is then a false negative in every sample. Noise strengths are in
action units and meant for actions scaled to [-1, 1].
"""

import math
from dataclasses import replace

from energydiag.fixes.editing import mixed
from energydiag.fixes.fix import Fix, Patient, Refusal
from energydiag.plan import TrainingPlan

FEWEST_CONTEXTS = 32
"""Of a step (a guess: 31 negatives from elsewhere beside five to nine near ones)."""


def _edit(plan: TrainingPlan, patient: Patient) -> TrainingPlan | Refusal:
    near = ("layers",) if patient.has_layers else ("policy",) if patient.has_policy else ()
    size = enough_contexts(plan.batch_size, patient.samples)
    return mixed(replace(plan, swap=True, batch_size=size), *near, "noise")


def enough_contexts(size: int, samples: int | None) -> int:
    """The smallest multiple of the batch size with `FEWEST_CONTEXTS`; a multiple can be shared out as the size could.

    Args:
        size: The owner's batch size.
        samples: How many there are; a multiple that needs more is not taken.
    """
    times = math.ceil(FEWEST_CONTEXTS / size)
    if samples is not None:
        times = min(times, samples // size)
    return size * max(times, 1)


FIX = Fix(
    name="mixed-negatives",
    handles=(
        "ED201",
        "ED203",
        "ED206",
        "ED207",
        "ED303",
        "ED309",
        "ED310",
        "ED401",
        "ED402",
        "ED501",
        "ED502",
        "ED719",
    ),
    changes="other samples' actions, every layer's and noise as negatives of one contrast; 32 contexts a step or more",
    edit=_edit,
)
