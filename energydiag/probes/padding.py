"""Whether the energy keeps to the mask: no effect of the tokens that it hides, and some of those that it shows.

Effects are mean absolute changes of E over the standard deviation of E over all swap pairs, on at most 256 samples.

* ``conditioning.pad_effect``: noise in the place of all hidden tokens, as large as the visible ones (root mean square);
  0 where the mask works. ``conditioning.visible_effect``: the same in the visible tokens. Both over samples that have
  hidden tokens. ``conditioning.inverted_mask``: the first over the sum of both: 0 as it should be, 1 where the model
  takes the mask upside down.
* ``conditioning.turned_mask.auroc_gain``: |AUROC − ½| over the first swap set with the mask turned round, minus that
  with the mask as it is, for samples with hidden tokens. Above 0 model and dump disagree on the mask, whoever is wrong.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from energydiag.batch import Batch
from energydiag.energies.pairs import Pairs
from energydiag.energies.pairwise import energy_table
from energydiag.precision import kept
from energydiag.probes.attempt import all_skipped, attempt
from energydiag.probes.effects import CONSTANT, MOST_SAMPLES, energy_spread
from energydiag.probes.evidence import Evidence
from energydiag.probes.probe import Answer, Probe, joined, measured
from energydiag.probes.separation import auroc_of
from energydiag.results import Skipped
from energydiag.statistics import FloatArray, Resampler

_EFFECTS = ("conditioning.pad_effect", "conditioning.visible_effect", "conditioning.inverted_mask")
_GAIN = "conditioning.turned_mask.auroc_gain"

_SEED = 600

_COPIES = 8
"""Of a context in float32 while noise is put into it, the model's own included (a guess)."""


def _measure(evidence: Evidence) -> Answer:
    evidence.require_finite()
    spread = energy_spread(evidence.swap.energy)
    if spread == 0:
        return all_skipped(("padding",), CONSTANT)
    effects = attempt(_EFFECTS, lambda: _pad_effect(evidence, spread))
    return joined((effects, attempt((_GAIN,), lambda: _turned_mask(evidence))))


def _pad_effect(evidence: Evidence, spread: float) -> Answer:
    lacking = _lacks_padding(evidence.batch)
    if evidence.batch.pad_mask is None or lacking:
        return all_skipped(_EFFECTS, lacking)
    padded = evidence.batch.select(torch.nonzero(evidence.batch.pad_mask.any(dim=1)).reshape(-1))
    part = padded.select(padded.spread(MOST_SAMPLES))
    effects_n2 = garbage_effects(evidence, part) / spread
    if not np.isfinite(effects_n2).all(axis=1).any():  # else rows that are not finite are left out
        return all_skipped(_EFFECTS, "energies are not finite with noise in the context")
    resampler = Resampler(part.groups.numpy(), evidence.settings.seed)
    found = [measured(name, resampler.mean(effects_n2[:, i])) for i, name in enumerate(_EFFECTS[:2])]
    if not np.nan_to_num(effects_n2).any():
        return Answer(tuple(found), skipped=(Skipped(_EFFECTS[2], "no token has any effect, hidden or visible"),))
    share = resampler.of_means(effects_n2, lambda m: m[..., 0] / np.where(m.sum(axis=-1) > 0, m.sum(axis=-1), np.nan))
    return Answer((*found, measured(_EFFECTS[2], share)))


def garbage_effects(evidence: Evidence, part: Batch) -> FloatArray:
    """Absolute change of E by noise in the hidden and in the visible tokens, ``[n, 2]``, in energy units."""
    generator = torch.Generator().manual_seed(evidence.settings.seed * 1009 + _SEED)
    rows = max(1, evidence.settings.memory_budget // (_COPIES * 4 * part.hidden[0].numel()))
    found = []
    for some in (part.take(index) for index in torch.split(torch.arange(len(part)), rows)):
        assert some.pad_mask is not None
        hidden, visible = kept(some.hidden), ~some.pad_mask
        square = hidden.square().mean(dim=2)
        scale = ((square * visible).sum(dim=1) / visible.sum(dim=1)).sqrt()
        noise = scale[:, None, None] * torch.randn(hidden.shape, generator=generator)
        own = _own_energies(evidence, hidden, some)
        changed = (
            _own_energies(evidence, torch.where(place[:, :, None], noise, hidden), some)
            for place in (some.pad_mask, visible)
        )
        found.append(torch.stack([(other - own).abs() for other in changed], dim=1))
    effects: FloatArray = torch.cat(found).numpy()
    return effects


def _lacks_padding(batch: Batch) -> str:
    """Why nothing can be said of the mask, or an empty text."""
    if batch.hidden.dim() != 3:
        return f"the context is {'pooled' if batch.hidden.dim() == 2 else 'no sequence'} and has no tokens"
    if batch.pad_mask is None:
        return "the dump has no `pad_mask`"
    return "" if bool(batch.pad_mask.any()) else "no token is hidden"


def _own_energies(evidence: Evidence, hidden: Tensor, part: Batch) -> Tensor:
    """Energies ``[n]`` of the expert's actions in these contexts, in float64."""
    pairs = Pairs(hidden, part.actions[:, None], part.pad_mask, shared=False)
    return energy_table(evidence.energy, pairs, evidence.settings.memory_budget)[:, 0]


def _turned_mask(evidence: Evidence) -> Answer:
    part = evidence.batch.take(evidence.swap.index[0])
    lacking = _lacks_padding(part)
    if part.pad_mask is None or lacking:
        return all_skipped((_GAIN,), lacking)
    both = part.pad_mask.any(dim=1)  # none is hidden whole: such samples are left out before
    if int(both.sum()) < 2:
        return all_skipped((_GAIN,), "fewer than two samples of the first swap set have hidden tokens")
    part = part.take(torch.nonzero(both).reshape(-1))
    assert part.pad_mask is not None
    pairs = Pairs(part.hidden, part.actions, ~part.pad_mask, shared=True)
    turned = energy_table(evidence.energy, pairs, evidence.settings.memory_budget)
    if not bool(torch.isfinite(turned).all()):
        return all_skipped((_GAIN,), "energies are not finite with the mask turned round")
    auroc_n2 = np.stack((auroc_of(turned), auroc_of(evidence.swap.energy[0][both][:, both])), axis=1)
    resampler = Resampler(part.groups.numpy(), evidence.settings.seed)
    gain = resampler.of_means(auroc_n2, lambda m: np.asarray(np.abs(m[..., 0] - 0.5) - np.abs(m[..., 1] - 0.5)))
    return Answer((measured(_GAIN, gain),))


PROBE = Probe("padding", _measure)
