"""Turn the mask: what the dump calls hidden is shown to the model as visible, and the other way round.

## What it changes
The padding mask is turned round on its way into the model. Where that alone surely makes the energies rank better
(AUROC by more than .005 with its whole interval, and nothing worse on the validation samples), nothing is trained: the
weights stay as they are.

## Why it helps
A mask with True for visible tokens is as common as one with True for hidden ones, and torch's own modules take both. A
head that was trained with the right tokens ranks rightly as soon as it gets them again.

## When not to use it
Where model and dump were not found to disagree: it would hide the context. Where the dump is at fault, dump the mask as
`attention_mask` instead; other tools that read the repaired checkpoint would have to turn it too. A head that was
trained on padding has to be trained again, which `--fix auto` does unless the mask turned round ranks better at once.
"""

from energydiag.fixes.editing import operated
from energydiag.fixes.fix import Fix, Patient, Refusal
from energydiag.plan import TrainingPlan

TURNED = "ED505"


def _edit(plan: TrainingPlan, patient: Patient) -> TrainingPlan | Refusal:
    if all(finding.code != TURNED for finding in patient.findings):
        return Refusal("model and dump were not found to disagree on the mask; turning it would hide the context")
    return operated(plan, "turn-mask")


FIX = Fix(name="turn-mask", handles=(TURNED,), changes="the mask is turned round for the model", edit=_edit)
