"""Energies that are NaN or infinite.

* ``head.nonfinite_fraction``: the share of the pairs of the swap sets, and of the experts' own actions, with such an
  energy. ``head.nonfinite_samples``: how many samples have to be left out for all others' energies to be finite. They
  are left out of every other measurement, as long as half of the samples remain; else nothing more is measured.
* ``head.nonfinite_nearby``: the share of the samples with finite energies of their own that have such an energy among
  the candidates around the expert's action: noisy, shifted, scaled, the policy's. Such a sample is left out of the
  measurements that compare with these candidates.
"""

from __future__ import annotations

import torch

from energydiag.probes.evidence import Evidence
from energydiag.probes.probe import Answer, Probe
from energydiag.results import Measurement


def _measure(evidence: Evidence) -> Answer:
    swap, own = evidence.asked
    pairs, count = torch.cat((swap.energy.reshape(-1), own[:, 0])), len(own)
    nearby = ~torch.isfinite(own).all(dim=1) & ~evidence.broken
    kept = int((~evidence.broken).sum())
    return Answer(
        (
            Measurement.of("head.nonfinite_fraction", float((~torch.isfinite(pairs)).double().mean()), count),
            Measurement.of("head.nonfinite_samples", float(evidence.broken.sum()), count),
            Measurement.of("head.nonfinite_nearby", float(nearby.sum()) / max(kept, 1), kept),
        )
    )


PROBE = Probe("nonfinite energies", _measure)
