"""Binary cross-entropy and NCE: every pair is classified alone (Gutmann and Hyvärinen 2010).

The loss is the mean over pairs of ``−log σ(s₊ + c)`` and ``−log σ(−s₋ − c)``; NCE's c contains −log(K·p_noise).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from energydiag.objectives.objective import NO_FIT, NO_TEMPERATURE, Chance, Clues, Fit, Objective, Setting

if TYPE_CHECKING:
    from torch import Tensor


def _chances(setting: Setting) -> tuple[Chance, ...]:
    count = setting.negatives
    if count is None or count < 2:
        return (Chance(math.log(2), "log 2", 1),)
    p = 1 / (1 + count)
    entropy = -p * math.log(p) - (1 - p) * math.log1p(-p)
    return (Chance(entropy, f"the entropy of 1 in {1 + count}, that of the best bias", count),)


def _floor(setting: Setting) -> float | None:
    return None if setting.reach is None else math.log1p(math.exp(-setting.reach / 2))


def _fits(clues: Clues) -> Fit:
    if clues.lowest is not None and clues.lowest < 0:
        return NO_FIT
    if name := clues.named("bce", "binary_cross", "binary_accuracy"):
        return Fit(3, f"`{name}` was logged")
    if clues.starts_at(math.log(2)):
        return Fit(1, f"the loss begins at {clues.first:.3g}, about log 2")
    return NO_FIT


def loss(positive_B: Tensor, negative_BN: Tensor) -> Tensor:
    """Mean over the pairs of an anchor, ``[B]``, at c = 0."""
    zero = positive_B.new_zeros(())
    each = (-positive_B).logaddexp(zero) + negative_BN.logaddexp(zero).sum(dim=1)
    return each / (1 + negative_BN.shape[1])


SATURATES = frozenset({"ED101", "ED102"})
"""Saturation is the solution where each pair is classified; it is a symptom only where the ranking is poor."""

OBJECTIVE = Objective(
    name="bce",
    title="binary cross-entropy",
    aliases=("bce", "nce", "binary_cross_entropy", "bcewithlogits", "logistic", "classification", "binary"),
    formula="−log σ(s₊ + c) − Σ log σ(−s₋ − c)",
    chances=_chances,
    floor=_floor,
    improved="held-out AUROC rises, calibration holds; the loss alone only at equal K",
    fits=_fits,
    starts_at_chance=False,
    not_asked={"ED103": "its loss is no InfoNCE", **NO_TEMPERATURE},
    milder=SATURATES,
    loss=loss,
)
