"""Regression of a cost, a distance or a return: ``(E − y)²``.

Predicting the mean costs the variance of y, which the log does not tell: a loss that fell may have learned that alone.
Only a loss that goes on falling long after the beginning shows more.
"""

from __future__ import annotations

from energydiag.objectives.objective import NO_FIT, ONLY_NEAR, Clues, Fit, Objective, no_chance, no_floor


def _fits(clues: Clues) -> Fit:
    if clues.lowest is not None and clues.lowest < 0:
        return NO_FIT
    if name := clues.named("mse", "l1_loss", "mae", "rmse", "r2", "regression", "huber", "td_loss", "value_loss"):
        return Fit(3, f"`{name}` was logged")
    return NO_FIT


OBJECTIVE = Objective(
    name="regression",
    title="regression",
    aliases=("regression", "mse", "distance-regression", "distance", "l2", "huber", "return"),
    formula="(E − y)²",
    chances=no_chance,
    floor=no_floor,
    improved="held-out R² and rank correlation rise",
    fits=_fits,
    starts_at_chance=False,
    learned=None,
    not_asked=ONLY_NEAR,
)
