"""Distance margin: an energy gap in proportion to how wrong an action is.

## What it changes
A hinge of weight 1.0 asks that each mixed-in action's energy exceeds the expert's by a margin in proportion to its
distance from it: one τ at the mean distance. Where the plan mixes in none, noise is mixed in.

## Why it helps
InfoNCE is content once every negative is above the positive, and treats a near miss like a wild one. A margin in
proportion to the distance gives the energy a slope everywhere on the way (used for action verifiers in RoboMonkey, Kwok
et al. 2025, and VGAS).

## When not to use it
On a bounded head at a high τ, which has no room for the margin of far actions. Beside `distance-ranking`, which asks
for the order alone and so leaves the scale free: one of the two is enough.
"""

from dataclasses import replace

from energydiag.fixes.editing import with_near_negatives
from energydiag.fixes.fix import Fix, Patient, Refusal
from energydiag.plan import TrainingPlan

WEIGHT = 1.0


def _edit(plan: TrainingPlan, _patient: Patient) -> TrainingPlan | Refusal:
    return replace(with_near_negatives(plan), margin=WEIGHT)


FIX = Fix(
    name="distance-margin",
    handles=("ED203",),
    changes="1.0·hinge on an energy gap in proportion to the distance",
    edit=_edit,
)
