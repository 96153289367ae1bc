"""What a softmax may cost that is as sure as it is right."""

from __future__ import annotations

import math

from energydiag.results import Measurement
from energydiag.rules.ends import low


def honest_loss(top1: Measurement, chance: Measurement) -> float:
    """The most that InfoNCE can be, in nat, for a softmax whose confidence is true.

    With N negatives and a share t of contexts in which the expert's action comes first, a model that knows nothing but
    its favourite and t has ``−t·log t − (1 − t)·log((1 − t)/N)`` (the bound in Fano's inequality). It falls with t, so
    the lower end of t's interval is taken.

    Args:
        top1: t.
        chance: Of t: 1/(N + 1).
    """
    share = min(max(low(top1), chance.value), 1.0)
    others = 1 / chance.value - 1
    right = -share * math.log(share) if share > 0 else 0.0
    wrong = -(1 - share) * math.log((1 - share) / others) if share < 1 else 0.0
    return right + wrong
