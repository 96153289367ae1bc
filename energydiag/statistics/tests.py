"""Chances under Student's t, and their correction where many are asked at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

_NEARLY_NORMAL = 1e9
"""Degrees of freedom beyond which Student's t is the normal distribution to all digits."""


def holm(chances: Sequence[float]) -> list[float]:
    """p-values corrected for their number by Holm's step-down method (1979), in the order given.

    Below α in the corrected ones, all of them together are wrong with a chance of at most α, however they depend on
    each other.
    """
    order = sorted(range(len(chances)), key=lambda i: chances[i])
    corrected, highest = [0.0] * len(chances), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(chances) - rank) * chances[i]))
        corrected[i] = highest
    return corrected


def student_chance(estimate: float, error: float, freedom: float = math.inf) -> float:
    """Two-sided p-value of an estimate with a standard error, under Student's t; of none but the estimate 0 it is 1."""
    from scipy.special import stdtr

    if error == 0:
        return 0.0 if estimate else 1.0
    return float(2 * stdtr(min(freedom, _NEARLY_NORMAL), -abs(estimate) / error))


def student_quantile(share: float, freedom: float = math.inf) -> float:
    """The quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(min(freedom, _NEARLY_NORMAL), share))
