"""Whether energies are inverted, or just tell nothing."""

from __future__ import annotations

from energydiag.results import Measurement
from energydiag.rules.ends import high
from energydiag.rules.rule import Threshold

GAP = Threshold(
    -0.5,
    "calibrated on the fault benchmark: −.69 and below where inverted, −.32 and above where nothing was learned",
)
AUROC = Threshold(0.4, "heuristic: as far below chance as a poor model is above it")
SMALL_GAP = Threshold(
    -0.1,
    "heuristic: a few far energies may hold the gap down, but rounding alone has none (AUROC .31, gap 0 on the fault "
    "benchmark)",
)


def inverted(auroc: Measurement, gap_std: Measurement | None) -> bool:
    """AUROC below one half by its whole interval, and a standardized gap that is no trifle.

    The farther AUROC is below one half, the smaller the gap may be.
    """
    gap = None if gap_std is None else high(gap_std)
    if high(auroc) >= 0.5:
        return False
    return gap is None or gap < (SMALL_GAP if high(auroc) < AUROC.value else GAP).value
