"""Learning rate and largest gradient norm of every step."""

from __future__ import annotations

import math
from typing import NamedTuple

from energydiag.plan import TrainingPlan

FIRST_BORDER, SECOND_BORDER = 5_000, 15_000
"""Steps at which the design's phases change."""

FULL_LENGTH = 20_000
"""Runs that are shorter have the borders at the same shares of their steps, 1/4 and 3/4."""

EARLY_RATE, LATE_RATE = 0.1, 0.5
"""Factors on the learning rate in the first and the last phase; the middle one leads from one to the other."""

EARLY_CLIP, LATE_CLIP = 0.3, 0.5
"""Largest gradient norm in the first phase, and after it."""


class Pace(NamedTuple):
    """How one step is taken: learning rate, and largest gradient norm or None."""

    learning_rate: float
    clip_norm: float | None


def borders(steps: int) -> tuple[float, float]:
    """Where the progressive schedule's phases change in a run of ``steps`` steps."""
    scale = min(1.0, steps / FULL_LENGTH)
    return FIRST_BORDER * scale, SECOND_BORDER * scale


def pace(plan: TrainingPlan, step: int) -> Pace:
    """Learning rate and clipping of one step.

    Args:
        plan: Its ``schedule``; ``"progressive"`` is the design's: lr × 0.1 and clipping at 0.3 before step 5 000, then
            clipping at 0.5 and the rate linear up to × 0.5 at step 15 000, where it stays. In a run of fewer than
            20 000 steps the two borders lie at 1/4 and 3/4 of the steps.
        step: From 0.
    """
    peak = plan.learning_rate
    if plan.schedule == "constant":
        return Pace(peak, plan.clip_norm)
    if plan.schedule == "cosine":
        return Pace(peak * 0.5 * (1 + math.cos(math.pi * step / plan.steps)), plan.clip_norm)
    first, second = borders(plan.steps)
    if step < first:
        return Pace(peak * EARLY_RATE, EARLY_CLIP)
    share = min(1.0, (step - first) / (second - first))
    return Pace(peak * (EARLY_RATE + share * (LATE_RATE - EARLY_RATE)), LATE_CLIP)
