"""Whether the energy is the same in another mode: called again, in ``train()`` mode, in bfloat16.

Shifts are mean absolute changes of E over the standard deviation of E over all swap pairs, on at most 256 samples.

* ``conditioning.repeat_shift``: the same inputs twice, with the sample's own action and with another's.
  ``conditioning.train_eval_shift``: ``train()`` mode against ``eval()`` mode on these, dropout and batch statistics
  included; a state dict does not hold dropout rates, so those of the rebuilt model count. ``conditioning.bf16_shift``:
  weights and inputs in bfloat16, over the first swap set, and ``conditioning.bf16_auroc_drop`` what that costs in AUROC
  there.

All run on a copy of the module, so that nothing of it changes; where it cannot be copied, modes, buffers and random
states are put back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from energydiag.batch import Batch
from energydiag.energies.memory import PeakBytes
from energydiag.energies.pairs import Pairs
from energydiag.energies.pairwise import each_context_once, energy_table
from energydiag.models.borrowing import borrowed
from energydiag.models.energy_function import EnergyFunction
from energydiag.probes.attempt import all_skipped, attempt
from energydiag.probes.effects import CONSTANT, MOST_SAMPLES, energy_spread
from energydiag.probes.evidence import Evidence
from energydiag.probes.probe import Answer, Probe, joined, measured
from energydiag.probes.separation import auroc_of
from energydiag.statistics import FloatArray, Resampler

_MODES = ("conditioning.repeat_shift", "conditioning.train_eval_shift")
_BFLOAT16 = ("conditioning.bf16_shift", "conditioning.bf16_auroc_drop")


def _measure(evidence: Evidence) -> Answer:
    evidence.require_finite()
    spread = energy_spread(evidence.swap.energy)
    if spread == 0:
        return all_skipped(("modes",), CONSTANT)
    modes = attempt(_MODES, lambda: _modes(evidence, spread))
    return joined((modes, attempt(_BFLOAT16, lambda: _bfloat16(evidence, spread))))


def _modes(evidence: Evidence, spread: float) -> Answer:
    part = evidence.batch.select(evidence.batch.spread(MOST_SAMPLES))
    resampler = Resampler(part.groups.numpy(), evidence.settings.seed)
    with borrowed(evidence.energy, evidence.settings.seed) as energy:
        pieces = _pieces(energy, part, evidence.settings.memory_budget)
        first, again = (_plain_energies(energy, part, pieces) for _ in range(2))
        repeated = measured(_MODES[0], resampler.mean(_shift(again, first) / spread))

        def in_training() -> Answer:
            energy.module.train()
            trained = _plain_energies(energy, part, pieces)
            if not bool(torch.isfinite(trained).all(dim=1).any()):  # else such rows are left out
                return all_skipped(_MODES[1:], "energies are not finite in train() mode")
            return Answer((measured(_MODES[1], resampler.mean(_shift(trained, first) / spread)),))

        shifted = attempt(_MODES[1:], in_training)
    return replace(shifted, measurements=(repeated, *shifted.measurements))


def _pieces(energy: EnergyFunction, part: Batch, memory_budget: int) -> list[Tensor]:
    """Positions, in groups of two at least (batch normalisation has no statistics over one) that fit the budget."""
    count = len(part)
    with PeakBytes() as watch:
        _plain_energies(energy, part, [torch.arange(2)])
    fitting = int(2 * memory_budget / max(watch.peak, 1))
    groups = max(1, count // max(2, fitting // 2))  # groups are below twice the length that is divided by
    return list(torch.arange(count).tensor_split(groups))


def _shift(ours_n2: Tensor, others_n2: Tensor) -> FloatArray:
    """Mean absolute difference of a sample's energies, ``[n]``."""
    shift: FloatArray = (ours_n2 - others_n2).abs().mean(dim=1).numpy()
    return shift


def _plain_energies(energy: EnergyFunction, part: Batch, pieces: Sequence[Tensor]) -> Tensor:
    """Energies ``[n, 2]`` of the sample's action and the one before's, by ordinary calls with many rows, in float64.

    Both, since a head that is flat at its lower end hides there whatever happens to the expert's.
    """
    found = []
    before = part.actions.roll(1, dims=0)
    with torch.no_grad():
        for rows in pieces:
            some = part.take(rows)
            pairs = Pairs(some.hidden, some.actions, some.pad_mask, shared=True).to(energy.device, energy.dtype)
            with each_context_once(energy, pairs):
                columns = [
                    energy(pairs.hidden, actions, pairs.pad_mask).double().cpu()
                    for actions in (pairs.actions, before[rows].to(pairs.actions))
                ]
            found.append(torch.stack(columns, dim=1))
    return torch.cat(found)


def _bfloat16(evidence: Evidence, spread: float) -> Answer:
    if evidence.energy.dtype == torch.bfloat16:
        return all_skipped(_BFLOAT16, "the model is in bfloat16 already")
    part = evidence.batch.take(evidence.swap.index[0])
    pairs = Pairs(part.hidden, part.actions, part.pad_mask, shared=True)
    with borrowed(evidence.energy, evidence.settings.seed) as energy:
        if energy.module is evidence.energy.module:
            return all_skipped(_BFLOAT16, "the module cannot be copied, and its own weights are not to be rounded")
        energy.module.to(torch.bfloat16)
        rounded = energy_table(energy, pairs, evidence.settings.memory_budget)
    if not bool(torch.isfinite(rounded).all()):
        return all_skipped(_BFLOAT16, "energies are not finite in bfloat16")
    exact = evidence.swap.energy[0].double()
    shift = (rounded - exact).abs().mean(dim=1).numpy() / spread
    drop = auroc_of(exact) - auroc_of(rounded)
    resampler = evidence.gradient_samples
    return Answer(
        (
            measured(_BFLOAT16[0], resampler.mean(shift)),
            measured(_BFLOAT16[1], resampler.mean(drop)),
        )
    )


PROBE = Probe("modes", _measure)
