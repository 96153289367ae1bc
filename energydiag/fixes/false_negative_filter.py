"""False-negative filter: another sample's action that is nearly the expert's is no negative.

## What it changes
Swap pairs whose actions differ by less than the policy's own error (mean absolute) are left out of the contrast.

## Why it helps
Where two situations ask for the same action, InfoNCE pushes up in one what it pulls down in the other. An action nearer
to the expert's than the policy ever gets cannot be called wrong.

## When not to use it
With a weak policy, whose error is so large that most of the batch would be left out. It needs the policy's error and
swap negatives.
"""

from dataclasses import replace

from energydiag.fixes.fix import Fix, Patient, Refusal
from energydiag.plan import TrainingPlan


def _edit(plan: TrainingPlan, patient: Patient) -> TrainingPlan | Refusal:
    if patient.policy_error is None:
        return Refusal("the policy's error is not known: the training dump holds no policy actions")
    if not plan.swap:
        return Refusal("the plan has no swap negatives to filter")
    return replace(plan, false_negative_radius=patient.policy_error)


FIX = Fix(
    name="false-negative-filter",
    handles=("ED201", "ED603", "ED609", "ED719"),
    changes="swap pairs closer than the policy's error are no negatives",
    edit=_edit,
)
