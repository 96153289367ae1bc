"""Cosine schedule: a higher learning rate that falls to zero.

## What it changes
AdamW's learning rate starts at 0.002 and falls to zero along half a cosine; gradients are clipped at norm 1.0.

## Why it helps
Early steps travel, late ones settle: with a constant rate the weights end where the last batches shook them
(Loshchilov & Hutter 2017, 1608.03983). The rate and the clip are those with which the automatic recipe was measured on
simulated demonstrations.

## When not to use it
On a large pre-trained head: 0.002 was found for one of width 64. Set the rate that it was trained with, or force
`lower-learning-rate` after it.
"""

from dataclasses import replace

from energydiag.fixes.fix import Fix, Patient, Refusal
from energydiag.plan import TrainingPlan

LEARNING_RATE = 2e-3
CLIP_NORM = 1.0


def _edit(plan: TrainingPlan, _patient: Patient) -> TrainingPlan | Refusal:
    return replace(plan, schedule="cosine", learning_rate=LEARNING_RATE, clip_norm=CLIP_NORM)


FIX = Fix(
    name="cosine-schedule",
    handles=("ED704",),
    changes="learning rate 0.002 with cosine decay, gradient norm at most 1.0",
    edit=_edit,
)
