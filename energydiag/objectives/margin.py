"""Margin and triplet losses, hard and soft (FaceNet, 1503.03832; in defense of the triplet loss, 1703.07737).

Hard: ``max(0, m + E₊ − E₋)``; soft: ``log(1 + e^(E₊ − E₋))``. At exactly m, or log 2, all energies are
equal: collapsed. With the hardest negatives of a batch the loss lies above m at first, and may rise while the ranking
improves.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from energydiag.objectives.objective import NO_FIT, NO_TEMPERATURE, Chance, Clues, Fit, Objective, Setting

if TYPE_CHECKING:
    from torch import Tensor

MARGINS = (0.05, 0.1, 0.2, 0.25, 0.3, 0.5, 1.0, 2.0)
"""Usual margins; a loss that ends exactly at one of them has collapsed."""


def _chances(setting: Setting) -> tuple[Chance, ...]:
    soft = Chance(math.log(2), "log 2, the soft margin's loss of equal energies")
    if setting.margin is not None:
        return (Chance(setting.margin, f"the margin {setting.margin:g}"), soft)
    return (soft, *(Chance(margin, f"a margin of {margin:g}") for margin in MARGINS))


def _floor(setting: Setting) -> float | None:
    if setting.margin is None or setting.reach is None:
        return None
    return max(0.0, setting.margin - setting.reach)


def _fits(clues: Clues) -> Fit:
    if clues.lowest is not None and clues.lowest < 0:
        return NO_FIT
    if name := clues.named("triplet", "mean_dist", "hinge", "margin_loss", "pos_dist", "neg_dist"):
        return Fit(3, f"`{name}` was logged")
    if (
        clues.constant_end
        and clues.last is not None
        and any(math.isclose(clues.last, m, rel_tol=1e-3) for m in MARGINS)
    ):
        return Fit(1, f"the loss ends constant at {clues.last:.4g}, a usual margin")
    if clues.starts_at(math.log(2)):
        return Fit(1, f"the loss begins at {clues.first:.3g}, about log 2, a soft margin's loss of equal energies")
    return NO_FIT


def soft_margin(positive_B: Tensor, negative_BN: Tensor) -> Tensor:
    """``log(1 + e^(s₋ − s₊))``, mean over an anchor's negatives, ``[B]``."""
    return (negative_BN - positive_B[:, None]).logaddexp(positive_B.new_zeros(())).mean(dim=1)


OBJECTIVE = Objective(
    name="margin",
    title="margin or triplet loss",
    aliases=("margin", "triplet", "hinge", "ranking", "margin_ranking", "triplet_margin", "soft_margin"),
    formula="max(0, m + E₊ − E₋), or log(1 + e^(E₊ − E₋))",
    chances=_chances,
    floor=_floor,
    improved="the fraction of active triplets falls, recall rises; a hard loss may rise with the distances",
    fits=_fits,
    starts_at_chance=False,
    loss_improves=False,
    not_asked={
        "ED103": "its loss is no InfoNCE",
        "ED710": "a loss of the hardest negatives may rise with the distances",
        "ED206": "its negatives may be the hardest of the batch",
        "ED207": "its negatives may be the hardest of the batch",
        "ED719": "its negatives may be the hardest of the batch",
        **NO_TEMPERATURE,
    },
    loss=soft_margin,
)
