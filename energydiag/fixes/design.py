"""The design's bundle: what it proposes to apply at once, exactly.

## What it changes
`rescaled-head` (scale 2.0, offset 0.1, input ×0.5), `lower-temperature` (τ = 0.3), `lower-learning-rate` (×0.1),
`clip-gradients` (norm 0.3) and `improved-negatives` (middle-energy layer, noise σ 0.1 and 0.3), each as on its own
page. All of it or nothing: where one part cannot be applied, force the others by name.

## Why it helps
It doubles the energy's range and lowers τ, so the loss has somewhere to fall: with 63 negatives its floor goes from
2.25 to .077. What it promises is an energy gap of 0.5 to 1.0 instead of 0.1, a loss that falls smoothly, and no NaN.

## When not to use it
It can fail, for reasons of arithmetic. The head is still bounded: it saturates again once raw values have grown twice
as far, and its slope, at most .25 as before, is no larger near raw = 0. On a head that is dead it leaves the raw values
where they are. A tenth of the learning rate is a tenth of the way. A larger gap is partly a change of units: the range
was doubled.
Measured on simulated demonstrations (one seed, held-out episodes, heads that took the activation on every step; swap is
AUROC against other samples' actions): the rescaled head at τ = .3 with in-batch negatives reached swap .98, but ranked
the expert's action above the policy's in .48 of the samples, and its best corrected step changed the action error by
−.2 %; with the three improved negatives alone it reached swap .71, or collapsed to .50 when the learning rate was not
lowered. The bundle turns the head's gradient on without telling it where to point; `alignment-loss`,
`adversarial-negatives` and `distance-ranking` do that.
"""

from energydiag.fixes import clip_gradients, improved_negatives, lower_learning_rate, lower_temperature, rescaled_head
from energydiag.fixes.fix import Fix, Patient, Refusal
from energydiag.plan import TrainingPlan

PARTS = (
    rescaled_head.FIX,
    lower_temperature.FIX,
    lower_learning_rate.FIX,
    clip_gradients.FIX,
    improved_negatives.FIX,
)
"""In the order in which they are applied."""


def _edit(plan: TrainingPlan, patient: Patient) -> TrainingPlan | Refusal:
    for part in PARTS:
        edited = part.edit(plan, patient)
        if isinstance(edited, Refusal):
            return Refusal(f"its part {part.name} cannot be applied: {edited.reason}")
        plan = edited
    return plan


FIX = Fix(
    name="design",
    handles=tuple(sorted({code for part in PARTS for code in part.handles})),
    changes="; ".join(part.changes for part in PARTS),
    edit=_edit,
)
