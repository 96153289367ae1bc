"""The training loss beside the lowest value that the head's range allows.

With energies inside a range R, temperature τ and N negatives, InfoNCE cannot fall below ``log(1 + N·exp(−R/τ))``;
a model that cannot tell at all has ``log(1 + N)``. Of a cosine times s, the range is R = 2·s, but N + 1 unit vectors
have a mean cosine of −1/N at least: there ``s·(1 + 1/N)`` takes the place of R. The floor gap is
``(L − floor) / (chance − floor)``: near 0 the loss is as low as this head lets it be, near 1 nothing was learned.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from energydiag.losses import info_nce_per_row
from energydiag.probes.evidence import Evidence
from energydiag.probes.probe import Answer, Probe, measured
from energydiag.results import Measurement, Skipped


def _measure(evidence: Evidence) -> Answer:
    evidence.require_finite()
    tau, swap = evidence.settings.tau, evidence.swap
    rows = torch.cat([info_nce_per_row(table.double(), tau) for table in swap.energy]).numpy()
    negatives, count = swap.energy.shape[1] - 1, len(rows)
    reading = evidence.reading
    chance = math.log1p(negatives)
    loss = measured("loss.swap", evidence.swap_samples.mean(rows))
    if reading.stopped_at and reading.energy_range is None:
        reason = f"the energy ends in `{reading.stopped_at}`, whose range is not known"
        known = (loss, Measurement.of("loss.swap.chance", chance, count))
        return Answer(known, skipped=(Skipped("floor_gap.swap", reason),))
    floor = reading.floor(negatives, tau)
    with np.errstate(all="ignore"):  # at a temperature without end, floor and chance are one
        gap = evidence.swap_samples.of_means(rows[:, None], lambda m: (m[..., 0] - floor) / (chance - floor))
    return Answer(
        (
            loss,
            Measurement.of("loss.swap.floor", floor, count),
            Measurement.of("loss.swap.chance", chance, count),
            measured("floor_gap.swap", gap),
        )
    )


PROBE = Probe("loss floor", _measure)
