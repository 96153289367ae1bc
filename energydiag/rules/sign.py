"""Whether energies are the wrong way round, or just tell nothing."""

from __future__ import annotations

from energydiag.results import Measurement
from energydiag.rules.ends import high
from energydiag.rules.rule import Threshold

GAP = Threshold(
    -0.5,
    "calibrated on the fault benchmark: −.69 and below where turned round, −.32 and above where nothing was learned",
)


def turned_round(auroc: Measurement, gap_std: Measurement | None) -> bool:
    """AUROC below one half by its whole interval, and a standardised gap that is no trifle."""
    return high(auroc) < 0.5 and (gap_std is None or high(gap_std) < GAP.value)
