"""Progressive schedule: slow steps first, then faster ones under a wider clip.

## What it changes
The learning rate and the largest gradient norm get the design's three phases: rate ×0.1 and norm 0.3 at first, then
linearly to ×0.5 with norm 0.5, then ×0.5 with norm 0.5. The phases change after 5 000 and 15 000 steps; in a run of
fewer than 20 000, after a quarter and three quarters of it.

## Why it helps
It is the design's fourth part. Right after surgery on the head, gradients are of another size than the weights were
trained with; short steps keep the first batches from throwing the weights away. It is a warm-up (Goyal et al. 2017,
1706.02677) in three pieces.

## When not to use it
Where the run is short: a quarter of it is spent at a tenth of the rate, and the rate never falls, so the weights end
where the last batches shook them (`cosine-schedule`). Together with `lower-learning-rate` the factors multiply: ×0.01.
"""

from dataclasses import replace

from energydiag.fixes.fix import Fix, Patient, Refusal
from energydiag.plan import TrainingPlan


def _edit(plan: TrainingPlan, _patient: Patient) -> TrainingPlan | Refusal:
    return replace(plan, schedule="progressive")


FIX = Fix(
    name="progressive-schedule",
    handles=("ED302",),
    changes="learning rate ×0.1, then rising to ×0.5; gradient norm at most 0.3, then 0.5",
    edit=_edit,
)
