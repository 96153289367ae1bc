"""How good an energy function is on samples that it is not trained on: up to four parts, and one number for them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from energydiag.batch import Batch
from energydiag.energies.descent import directions
from energydiag.energies.gradients import action_gradients
from energydiag.energies.pairs import Pairs
from energydiag.energies.pairwise import pair_table
from energydiag.metrics import ALIGNMENT, ALIGNMENT_POLICY, AUROC, AUROC_POLICY, TOP1, part, smallest_change
from energydiag.models.energy_function import EnergyFunction
from energydiag.negatives.noise import SIGMAS, noisy
from energydiag.negatives.part import own_pairs
from energydiag.negatives.swap import swap_sets
from energydiag.training.randomness import generator

SWAP_SIZE = 64
_NOISE = SIGMAS[1]
MOST_SAMPLES = 512
"""More do not make a choice among checkpoints much surer, and a validation shall cost as much as a few steps."""


@dataclass(frozen=True)
class Look:
    """What a validation saw: up to four numbers that do not change when energies are scaled; higher is better.

    Attributes:
        values: Of every sample ``[n]``, by the number's name in a diagnosis; NaN where a sample has none, and for all
            samples where an energy is not finite.
    """

    values: Mapping[str, Tensor]

    @property
    def parts(self) -> dict[str, float]:
        """Each number's mean; NaN where energies were not finite."""
        return {name: float(value.nanmean()) for name, value in self.values.items()}

    @property
    def score(self) -> float:
        """The parts' mean, each in [0, 1]; NaN where one is not finite."""
        return statistics.fmean((1 + v) / 2 if part(name, ALIGNMENT) else v for name, v in self.parts.items())

    def fallen(self, start: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Names of the parts that are worse than at the start.

        A mean alone would let a gain in one part pay for a loss in another. A part has fallen where it is lower by more
        than the smallest change that matters, be it by chance: of many weights that are looked at, some would slip
        through any test that gives the benefit of the doubt. What is passed over by mistake is one candidate of many.

        Args:
            start: The values of the same samples there. What was not finite then cannot fall, nor an AUROC in which all
                energies tied: an energy without any preference has none to lose.
        """
        told = {name: value for name, value in self.values.items() if not _tied(name, start[name])}
        changes = {name: float((value - start[name]).nanmean()) for name, value in told.items()}
        return tuple(name for name, change in changes.items() if change < -(smallest_change(name) or 0.0))


def _tied(name: str, values: Tensor) -> bool:
    return part(name, "auroc") is not None and bool(((values == 0.5) | values.isnan()).all())


def swap_ranks(swap_BN: Tensor, first: int = 0) -> tuple[float, float]:
    """``(AUROC, top-1)`` of a swap table: a tie counts half, and with k others on the lowest energy 1/(k+1).

    NaN for one candidate alone, and where an energy is not finite.

    Args:
        swap_BN: Energies; the positive of row i is column ``first + i``.
        first: See there.
    """
    auroc, top1 = _ranks_by_row(swap_BN, first)
    return float(auroc.mean()), float(top1.mean())


def _ranks_by_row(swap_BN: Tensor, first: int = 0) -> tuple[Tensor, Tensor]:
    """The same for every row, ``[B]``."""
    rows, columns = swap_BN.shape
    if columns < 2 or not bool(torch.isfinite(swap_BN).all()):
        nothing = torch.full((rows,), math.nan, dtype=torch.float64)
        return nothing, nothing
    positive = swap_BN.diagonal(first)[:, None]
    others = swap_BN[~own_pairs(swap_BN, first)].reshape(rows, columns - 1)
    equal = (others == positive).double()
    wins = (others > positive).double() + 0.5 * equal
    first_place = (others >= positive).all(dim=1).double() / (1 + equal.sum(dim=1))
    return wins.mean(dim=1), first_place


def look(energy: EnergyFunction, batch: Batch, seed: int) -> Look:
    """How good the energies are on at most 512 samples; the same samples, sets and noise for one seed.

    AUROC and top-1 in swap sets of 64; where the policy's actions are known, the share of samples whose expert action
    has lower energy than the policy's (a tie counting half), and the mean cosine of −∇E with the way to the expert at
    the policy's action; where they are not, that cosine at noise of .15.

    Args:
        energy: Put in eval mode, and left in it.
        batch: At least two samples.
        seed: Of the swap sets and the noise.
    """
    energy.module.eval()
    part = batch.take(batch.spread(MOST_SAMPLES))
    values = dict(zip((AUROC, TOP1), _swap(energy, part, seed), strict=True))
    if part.policy_actions is None:
        noise = noisy(part.actions, _NOISE, 1, generator(seed, "validation noise"))
        values[f"{ALIGNMENT}.noise_{_NOISE:g}"] = _alignment(energy, part, noise)[0]
        return Look(values)
    cosine, at_policy = _alignment(energy, part, part.policy_actions[:, None])
    expert = _energies(energy, Pairs(part.hidden, part.actions[:, None], part.pad_mask, shared=False))[:, 0]
    above = (at_policy > expert).double() + 0.5 * (at_policy == expert).double()
    finite = bool(torch.isfinite(at_policy).all() and torch.isfinite(expert).all())
    values[AUROC_POLICY] = above if finite else torch.full_like(above, math.nan)
    values[ALIGNMENT_POLICY] = cosine
    return Look(values)


def _swap(energy: EnergyFunction, batch: Batch, seed: int) -> tuple[Tensor, Tensor]:
    """AUROC and top-1 of every sample, ``[n]``; NaN for those left over from the sets."""
    found = torch.full((2, len(batch)), math.nan, dtype=torch.float64)
    for index in swap_sets(len(batch), SWAP_SIZE, generator(seed, "validation")):
        some = batch.take(index)
        table = _energies(energy, Pairs(some.hidden, some.actions, some.pad_mask, shared=True))
        if not bool(torch.isfinite(table).all()):
            found.fill_(math.nan)
            break
        found[:, index] = torch.stack(_ranks_by_row(table))
    return found[0], found[1]


def _alignment(energy: EnergyFunction, batch: Batch, actions_B1HA: Tensor) -> tuple[Tensor, Tensor]:
    """The cosine of −∇E with the way to the expert's action, and the energies, both ``[n]``."""
    found = action_gradients(energy, Pairs(batch.hidden, actions_B1HA, batch.pad_mask, shared=False))
    way = (batch.actions[:, None] - actions_B1HA).cpu().double()
    cosine = -(directions(found.gradient.cpu().double()) * directions(way)).flatten(1).sum(dim=1)
    return cosine, found.energy.float().cpu()[:, 0]


def _energies(energy: EnergyFunction, pairs: Pairs) -> Tensor:
    with torch.no_grad():
        return pair_table(energy, lambda h, a, m: (energy(h, a, m),), pairs).values[0].float().cpu()
