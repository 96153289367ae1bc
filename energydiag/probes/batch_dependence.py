"""Whether an energy depends on the rest of its batch.

``conditioning.batch_dependence``: the mean absolute difference between the energy of a sample with the expert's action
in a call of its own and in one call with all of them, over the standard deviation of E over all swap pairs, on at most
32 samples. What rounding explains counts as 0: a call of one row may add up its sums in another order. A model that
cannot be called with one row is called with two, of which the second is another sample; where it cannot be measured on
pairs for that reason, the energies of the one call have the standard deviation.

A model whose energies differ from call to call is left out, since noise cannot be told from the other rows there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from energydiag.batch import Batch
from energydiag.energies.pairs import Pairs
from energydiag.errors import ModelFailed
from energydiag.models.energy_function import EnergyFunction
from energydiag.probes.attempt import all_skipped, attempt
from energydiag.probes.effects import CONSTANT, energy_spread
from energydiag.probes.evidence import Evidence
from energydiag.probes.probe import Answer, Probe, measured
from energydiag.statistics import Resampler

MOST_SAMPLES = 32
"""Each takes a call of its own (a guess)."""

ROUNDINGS = 64
"""How many rounding steps of the largest energy another order of sums may cost (a guess; the samples differ by 4)."""

_NAME = "conditioning.batch_dependence"


def _measure(evidence: Evidence) -> Answer:
    return attempt((_NAME,), lambda: _dependence(evidence))


def _dependence(evidence: Evidence) -> Answer:
    try:
        batch, spread = evidence.batch, energy_spread(evidence.swap.energy)
    except ModelFailed:  # a model whose rows are coupled may refuse to be called with one
        batch, spread = evidence.given, 0.0
    part = batch.take(batch.spread(MOST_SAMPLES))
    together, again = (plain_energies(evidence.energy, part) for _ in range(2))
    alone = alone_energies(evidence.energy, part)
    rounding = ROUNDINGS * torch.finfo(evidence.energy.dtype).eps * float(torch.cat((together, alone)).abs().max())
    if float((together - again).abs().max()) > rounding:
        return all_skipped((_NAME,), "the model answers differently from call to call")
    shift = (alone - together).abs()
    shift[shift <= rounding] = 0.0
    spread = spread or energy_spread(together)
    if spread == 0:
        return all_skipped((_NAME,), CONSTANT)
    resampler = Resampler(part.groups.numpy(), evidence.settings.seed)
    return Answer((measured(_NAME, resampler.mean(shift.numpy() / spread)),))


def plain_energies(energy: EnergyFunction, part: Batch) -> Tensor:
    """Energies ``[n]`` of the expert's actions in one call, in float64."""
    pairs = Pairs(part.hidden, part.actions, part.pad_mask, shared=True).to(energy.device, energy.dtype)
    with torch.no_grad(), energy.failures(pairs.hidden, pairs.actions, pairs.pad_mask):
        return energy(pairs.hidden, pairs.actions, pairs.pad_mask).double().cpu()


def alone_energies(energy: EnergyFunction, part: Batch) -> Tensor:
    """The same ``[n]``, each in a call of its own, or of two where the model does not run with one row."""
    count = len(part)

    def called_with(rows: int) -> Tensor:
        members = ((torch.arange(rows) + i) % count for i in range(count))
        return torch.stack([plain_energies(energy, part.take(index))[0] for index in members])

    try:
        return called_with(1)
    except torch.OutOfMemoryError:
        raise
    except Exception:  # as batch statistics over one row are refused
        return called_with(2)


PROBE = Probe("batch dependence", _measure)
