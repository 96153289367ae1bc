"""What can be said of the batch itself: its size, broken values, padding.

Samples with a value that is not finite, and samples whose context is all padding, are counted here and left out of
every other measurement.
"""

from __future__ import annotations

import torch

from energydiag.probes.evidence import Evidence
from energydiag.probes.probe import Answer, Probe
from energydiag.results import Measurement


def _measure(evidence: Evidence) -> Answer:
    batch = evidence.whole
    count = len(batch)
    nonfinite, all_hidden = batch.unusable()
    actions = batch.actions.shape
    facts = {
        "data.samples": (count, "count"),
        "data.episodes": (len(torch.unique(batch.groups)), "count"),
        "data.steps": (actions[1] if len(actions) == 3 else 1, "count"),
        "data.action_dimensions": (actions[-1], "count"),
        "data.context_tokens": (batch.hidden.shape[1] if batch.hidden.dim() == 3 else 1, "count"),
        "data.nonfinite_fraction": (float(nonfinite.float().mean()), "1"),
        "data.all_padded_fraction": (float(all_hidden.float().mean()), "1"),
    }
    if batch.pad_mask is not None:
        facts["data.padding_fraction"] = (float(batch.pad_mask.float().mean()), "1")
    energy = evidence.swap.energy
    facts["head.nonfinite_fraction"] = (1 - float(torch.isfinite(energy).float().mean()), "1")
    return Answer(tuple(Measurement(name, float(value), unit, count) for name, (value, unit) in facts.items()))


PROBE = Probe("data", _measure)
