"""Edits that several fixes share; none mutates."""

from __future__ import annotations

from dataclasses import replace

from energydiag.fixes.fix import Patient
from energydiag.plan import TrainingPlan

_HEAD = "head="

BOUNDED = frozenset({"sigmoid", "tanh", "hardsigmoid", "hardtanh"})
"""Activations with a finite range."""

UNKNOWN_HEAD = "the end of the model was not understood, so there is no known activation to replace"


def operated(plan: TrainingPlan, operation: str) -> TrainingPlan:
    """The plan with one more operation on the model; a head takes the place of any head before it."""
    if operation in plan.surgery:
        return plan
    swaps_head = operation.startswith(_HEAD)
    kept = tuple(o for o in plan.surgery if not (swaps_head and o.startswith(_HEAD)))
    return replace(plan, surgery=(*kept, operation))


def mixed(plan: TrainingPlan, *names: str) -> TrainingPlan:
    """The plan with more sources of negatives, none twice."""
    return replace(plan, sources=tuple(dict.fromkeys((*plan.sources, *names))))


def with_near_negatives(plan: TrainingPlan) -> TrainingPlan:
    """The plan, with noise mixed in where it has no negatives beside the swap ones."""
    has_some = plan.sources or plan.improved_negatives or plan.descent is not None
    return plan if has_some else mixed(plan, "noise")


def head_after(plan: TrainingPlan, patient: Patient) -> str:
    """What produces the energy once the plan's surgery is done: an activation's or a head's name."""
    planned = [o.removeprefix(_HEAD) for o in plan.surgery if o.startswith(_HEAD)]
    return planned[-1] if planned else patient.head
