"""One number for how good an energy function is on samples that it is not trained on."""

from __future__ import annotations

import statistics

import torch
from torch import Tensor

from energydiag.batch import Batch
from energydiag.energies.gradients import action_gradients
from energydiag.energies.pairs import Pairs
from energydiag.energies.pairwise import pair_table
from energydiag.losses import alignment_cosine
from energydiag.models.energy_function import EnergyFunction
from energydiag.negatives.part import own_pairs
from energydiag.negatives.swap import swap_sets
from energydiag.training.randomness import generator

SWAP_SIZE = 64
MOST_SAMPLES = 512
"""More do not make a choice among checkpoints much surer, and a validation shall cost as much as a few steps."""


def swap_ranks(swap_BN: Tensor, first: int = 0) -> tuple[float, float]:
    """``(AUROC, top-1)`` of a swap table: a tie counts half, and with k others on the lowest energy 1/(k+1).

    NaN for one candidate alone, and where an energy is not finite.

    Args:
        swap_BN: Energies; the positive of row i is column ``first + i``.
        first: See there.
    """
    rows, columns = swap_BN.shape
    if columns < 2 or not bool(torch.isfinite(swap_BN).all()):
        return float("nan"), float("nan")
    positive = swap_BN.diagonal(first)[:, None]
    others = swap_BN[~own_pairs(swap_BN, first)].reshape(rows, columns - 1)
    equal = (others == positive).double()
    wins = (others > positive).double() + 0.5 * equal
    first_place = (others >= positive).all(dim=1).double() / (1 + equal.sum(dim=1))
    return float(wins.mean()), float(first_place.mean())


def validation_score(energy: EnergyFunction, batch: Batch, seed: int) -> float:
    """The mean of up to four numbers in [0, 1] that do not change when energies are scaled; higher is better.

    AUROC and top-1 in swap sets of 64; where the policy's actions are known, the share of samples whose expert action
    has lower energy than the policy's (a tie counting half), and (1 + mean cosine of −∇E with the way to the expert)
    over 2 at the policy's action. The same samples and sets for one seed, at most 512.

    Args:
        energy: Put in eval mode, and left in it.
        batch: At least two samples.
        seed: Of the swap sets.

    Returns:
        NaN where energies are not finite.
    """
    energy.module.eval()
    part = batch.take(batch.spread(MOST_SAMPLES))
    ranks = []
    for index in swap_sets(len(part), SWAP_SIZE, generator(seed, "validation")):
        some = part.take(index)
        ranks.append(swap_ranks(_energies(energy, Pairs(some.hidden, some.actions, some.pad_mask, shared=True))))
    numbers = [statistics.fmean(column) for column in zip(*ranks, strict=True)]
    if part.policy_actions is not None:
        policy = part.policy_actions[:, None]
        found = action_gradients(energy, Pairs(part.hidden, policy, part.pad_mask, shared=False))
        expert = _energies(energy, Pairs(part.hidden, part.actions[:, None], part.pad_mask, shared=False))
        at_policy = found.energy.float().cpu()
        above = (at_policy > expert).double() + 0.5 * (at_policy == expert).double()
        way = (part.actions - part.policy_actions)[:, None].float().cpu()
        cosine = alignment_cosine(found.gradient.float().cpu(), way)
        if not bool(torch.isfinite(at_policy).all() and torch.isfinite(expert).all()):
            return float("nan")
        numbers += [float(above.mean()), (1 + float(cosine.mean())) / 2]
    return statistics.fmean(numbers)


def _energies(energy: EnergyFunction, pairs: Pairs) -> Tensor:
    with torch.no_grad():
        return pair_table(energy, lambda h, a, m: (energy(h, a, m),), pairs).values[0].float().cpu()
