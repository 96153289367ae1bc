"""Bradley-Terry: one preferred and one rejected action a context, as reward models are trained.

``−log σ(r₊ − r₋)`` with r = −E. Level and scale of r are free: a level of 60 is no fault.
"""

from __future__ import annotations

import math

from energydiag.objectives.margin import soft_margin
from energydiag.objectives.objective import (
    NO_FIT,
    NO_IN_BATCH_NEGATIVES,
    NO_TEMPERATURE,
    Chance,
    Clues,
    Fit,
    Objective,
    Setting,
)


def _chances(_setting: Setting) -> tuple[Chance, ...]:
    return (Chance(math.log(2), "log 2", 1),)


def _floor(setting: Setting) -> float | None:
    return None if setting.reach is None else math.log1p(math.exp(-setting.reach))


def _fits(clues: Clues) -> Fit:
    if clues.lowest is not None and clues.lowest < 0:
        return NO_FIT
    if name := clues.named("chosen", "rejected", "mean_reward", "rewards/", "preference"):
        return Fit(3, f"`{name}` was logged")
    if clues.starts_at(math.log(2)):
        return Fit(1, f"the loss begins at {clues.first:.3g}, about log 2")
    return NO_FIT


OBJECTIVE = Objective(
    name="bt",
    title="Bradley-Terry",
    aliases=("bt", "bradley-terry", "bradley_terry", "reward", "preference", "dpo", "pairwise", "ranknet"),
    formula="−log σ(r₊ − r₋), r = −E",
    chances=_chances,
    floor=_floor,
    improved="held-out pair accuracy and reward margin rise",
    fits=_fits,
    not_asked={"ED103": "its loss is no InfoNCE", **NO_TEMPERATURE, **NO_IN_BATCH_NEGATIVES},
    loss=soft_margin,
)
