"""Fresh weights: train the repaired model from its beginning, not from the sick weights.

## What it changes
Every parameter is drawn anew, as each of the model's modules initialises itself, after the head was mended.

## Why it helps
What a saturated head has pushed its features into outlives the head. Networks that go on from old weights generalise
worse than fresh ones trained on the same data, and often no longer training makes up for it (Ash and Adams 2020,
1910.08475).
Measured on a saturated sample with the same repair and 1000 steps: with the old features under a fresh last layer the
action error fell by 5 % after one corrected step and 9 % after four, with all weights fresh by 14 % and 24 %; keeping
30 % of each old weight came between, 12 % and 22 %.

## When not to use it
Where the module holds more than the energy head, such as a pretrained backbone: that would be lost. Where there are too
few samples or steps to train a head from its beginning: with 200 steps in the place of the 1000 above, the old weights
led to the better ranking (top-1 higher by .13, the expert above the policy by .19), so that the automatic plan leaves
this fix out below 500 steps. It needs modules that can draw their own weights
(`reset_parameters`), as all of torch's can.
"""

from energydiag.fixes.editing import operated
from energydiag.fixes.fix import Fix, Patient, Refusal
from energydiag.plan import TrainingPlan


def _edit(plan: TrainingPlan, patient: Patient) -> TrainingPlan | Refusal:
    if patient.unresettable:
        return Refusal(
            f"`{patient.unresettable[0]}` holds parameters of its own and has no `reset_parameters` to draw them anew"
        )
    return operated(plan, "fresh-weights")


FIX = Fix(
    name="fresh-weights",
    handles=("ED101", "ED102", "ED103", "ED105", "ED106", "ED305", "ED307", "ED308", "ED311", "ED502", "ED702"),
    changes="every parameter is drawn anew",
    edit=_edit,
)
