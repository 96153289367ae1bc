"""Clip gradients: no step's gradient is longer than 0.3.

## What it changes
The largest norm of the gradient over all parameters becomes 0.3 (the design's).

## Why it helps
One batch with a huge gradient can throw away what thousands taught; clipping keeps its direction and bounds its length
(Pascanu et al. 2013, 1211.5063).

## When not to use it
Where the usual norm is far above 0.3: then every step is clipped, the batch with the loudest samples decides each
direction, and the fault that makes gradients large is still there. Adam divides by the gradient's size anyway, so
clipping tames rare spikes, not a loss that is large throughout.
"""

from dataclasses import replace

from energydiag.fixes.fix import Fix, Patient, Refusal
from energydiag.plan import TrainingPlan

MAX_NORM = 0.3


def _edit(plan: TrainingPlan, _patient: Patient) -> TrainingPlan | Refusal:
    return replace(plan, clip_norm=MAX_NORM)


FIX = Fix(
    name="clip-gradients",
    handles=("ED104", "ED108", "ED302", "ED703", "ED707", "ED715", "ED725"),
    changes="gradient norm at most 0.3",
    edit=_edit,
)
