"""SigLIP: a sigmoid for every pair of the batch, with a learned scale t and bias b (Zhai et al. 2023, 2303.15343).

``1/B Σᵢⱼ −log σ(zᵢⱼ(t·cosᵢⱼ + b))`` with z = 1 on the diagonal, else −1. The bias learns first and takes the loss from
10 to log B + 1 by itself: the fall to there is no learning.
"""

from __future__ import annotations

import math

from energydiag.objectives.bce import SATURATES
from energydiag.objectives.objective import NO_FIT, NO_TEMPERATURE, Chance, Clues, Fit, Objective, Setting


def _chances(setting: Setting) -> tuple[Chance, ...]:
    size = setting.batch_size or (None if setting.negatives is None else setting.negatives + 1)
    if size is None or size < 2:
        return ()
    value = math.log(size) + (size - 1) * math.log(size / (size - 1))
    return (Chance(value, f"the best bias alone, log {size} + {value - math.log(size):.3g}", size - 1),)


def _floor(setting: Setting) -> float | None:
    """Minimum over b of ``log(1 + e^(−t−b)) + (B−1)·log(1 + e^(b − t/(B−1)))``: cosines cannot all be −1."""
    size = setting.batch_size
    if size is None or size < 2 or setting.reach is None:
        return None
    if math.isinf(setting.reach):
        return 0.0
    scale, others = setting.reach / 2, size - 1
    return min(
        _softplus(-scale - bias / 50) + others * _softplus(bias / 50 - scale / others) for bias in range(-2500, 2501)
    )


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _fits(clues: Clues) -> Fit:
    if clues.lowest is not None and clues.lowest < 0:
        return NO_FIT
    if name := clues.columns.get("logit_bias", "") or clues.named("siglip"):
        return Fit(3, f"`{name}` was logged")
    return NO_FIT


OBJECTIVE = Objective(
    name="siglip",
    title="SigLIP",
    aliases=("siglip", "sigmoid", "sigliploss", "sigmoid_contrastive"),
    formula="1/B Σᵢⱼ −log σ(zᵢⱼ(t·cosᵢⱼ + b))",
    chances=_chances,
    floor=_floor,
    improved="recall or top-1 rises; the fall of the loss to that of the best bias is no learning",
    fits=_fits,
    starts_at_chance=False,
    silent_above_chance=True,
    not_asked={"ED103": "its loss is no InfoNCE", **NO_TEMPERATURE},
    milder=SATURATES,
)
