"""Energy anchor: a weak pull of all energies towards 0.

## What it changes
0.001 times the mean squared energy is added to the loss.

## Why it helps
InfoNCE sees differences of energies alone: adding the same number to all energies of a context costs nothing, so an
unbounded head drifts, and growing energies make gradients grow. A weak L2 term on the energies stops both (Du &
Mordatch 2019, 1903.08689; also in JEM, Grathwohl et al. 2020, 1912.03263, and NAE, Yoon et al. 2021).

## When not to use it
On a bounded head, where it cannot drift and the term only pulls raw values onto the lower flat end. With a larger
weight it fights the contrast itself: at distance d between positive and negative it costs about .001·d²/4.
"""

from dataclasses import replace

from energydiag.fixes.editing import BOUNDED, head_after
from energydiag.fixes.fix import Fix, Patient, Refusal
from energydiag.plan import TrainingPlan

WEIGHT = 1e-3


def _edit(plan: TrainingPlan, patient: Patient) -> TrainingPlan | Refusal:
    if head_after(plan, patient) in BOUNDED | {"rescaled"}:
        return Refusal("the head is bounded: its energies cannot drift")
    return replace(plan, anchor=WEIGHT)


FIX = Fix(
    name="energy-anchor",
    handles=("ED107", "ED108", "ED205", "ED302", "ED705", "ED707", "ED725"),
    changes="0.001·E² added to the loss",
    edit=_edit,
)
