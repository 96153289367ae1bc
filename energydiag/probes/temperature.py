"""The temperature at which a model's own energies rank best, for models whose temperature of training is not known.

InfoNCE over in-batch pairs is a convex function of 1/τ, so that a search over the logarithm of τ finds its minimum. A
model that ranks no better than chance has its minimum at τ = ∞, for which the largest τ of the search stands.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_REACH = math.log(1e4)
"""The search goes this far, in log τ, to either side of the energies' standard deviation."""


def best_temperature(energy_KCC: Tensor) -> float:
    """The τ that gives the lowest InfoNCE over these tables, whose positives are on the diagonal.

    Args:
        energy_KCC: Energies of K in-batch sets; rows with values that are not finite are left out.

    Returns:
        τ > 0; 1 where no row is finite or all energies are equal.
    """
    from scipy.optimize import minimize_scalar  # a tenth of a second that only this needs

    table = energy_KCC.double()
    kept_KC = torch.isfinite(table).all(dim=2)
    own = table.diagonal(dim1=1, dim2=2)
    around = (table - own[:, :, None])[kept_KC]
    spread = float(around.std()) if around.numel() > 1 else 0.0
    if not (math.isfinite(spread) and spread > 0):
        return 1.0

    def loss(log_tau: float) -> float:
        return float(torch.logsumexp(-around / math.exp(log_tau), dim=1).mean())

    middle = math.log(spread)
    found = minimize_scalar(loss, bounds=(middle - _REACH, middle + _REACH), method="bounded")
    return math.exp(float(found.x))
