"""Samples whose energies are not finite: as few as have to be left out for all others to be finite.

Shapes: N samples, K swap sets, C contexts in a set.
"""

from __future__ import annotations

import torch
from torch import Tensor


def nonfinite_samples(energy_KCC: Tensor, index_KC: Tensor, own_N: Tensor) -> Tensor:
    """Which samples to leave out, ``[N]`` bool.

    A pair that is not finite may be the fault of its context or of its action: the sample with the most such pairs is
    taken first, then that with the most of those that are left.

    Args:
        energy_KCC: Every context of a set with every expert action of the set.
        index_KC: Sample at every place.
        own_N: Energy of every sample's own expert action.
    """
    broken = ~torch.isfinite(own_N)
    for energy_CC, index_C in zip(energy_KCC, index_KC, strict=True):
        bad = ~torch.isfinite(energy_CC) & ~broken[index_C] & ~broken[index_C][:, None]
        while bool(bad.any()):
            worst = int((bad.sum(dim=0) + bad.sum(dim=1)).argmax())
            broken[index_C[worst]] = True
            bad[worst], bad[:, worst] = False, False
    return broken
