"""Whether energies are those of a pass with dropout at work.

Shapes: n samples, k passes.
"""

from __future__ import annotations

import torch
from torch import Tensor

_RANKS_APART = 1.95
"""Times 1/√n, how far the ranks of dropped-out energies may be from uniform: Kolmogorov's test at .1 %."""

_FEWEST_SHARED = 0.3
_CORRELATION_APART = 0.1
"""How much a pass must correlate with the others, and how much less the owner's energies may (heuristics)."""

_DISTANCE_APART = 2.0
"""How many times nearer or farther than any pass from eval mode's energies the owner's may be (heuristic)."""


def is_one_more(owner: Tensor, passes: Tensor, still: Tensor) -> bool:
    """Whether the owner's energies ``[n]`` may be a pass like others, and not those of eval mode.

    Of each sample, any rank among the passes is as probable as any other (ranks, since behind a sigmoid dropout has
    heavy tails). The energies are as far from eval mode's as passes are, and correlate with the passes' mean as a pass
    does with the others' mean, which must be enough to tell samples apart at all.

    Args:
        owner: The energies, ``[n]``.
        passes: Of the model in train mode, ``[k, n]``.
        still: Of the model in eval mode, ``[n]``.
    """
    below = (passes < owner).double().mean(dim=0).sort().values
    uniform = (torch.arange(len(owner), dtype=torch.float64) + 0.5) / len(owner)
    if float((below - uniform).abs().max()) >= _RANKS_APART / len(owner) ** 0.5:
        return False
    away = (passes - still).square().mean(dim=1).sqrt()
    own = float((owner - still).square().mean().sqrt())
    if not float(away.min()) / _DISTANCE_APART < own < float(away.max()) * _DISTANCE_APART:
        return False
    total = passes.sum(dim=0)
    usual = [correlation(one, total - one) for one in passes]
    return min(usual) > _FEWEST_SHARED and correlation(owner, total) > min(usual) - _CORRELATION_APART


def correlation(one: Tensor, other: Tensor) -> float:
    """Pearson's, of two vectors."""
    return float(torch.corrcoef(torch.stack((one, other)))[0, 1])
