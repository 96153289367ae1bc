"""Whether the spread of the energies itself is gone, so that ratios to it say nothing of their causes."""

from __future__ import annotations

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import high, low
from energydiag.rules.rule import Threshold

NEEDED = ("head.energy_spread", "head.energy_mean", "head.energy_std", "auroc.swap")
"""What `collapsed` asks for; without them nothing is called collapsed."""

SPREAD = Threshold(0.01, "heuristic: logits that differ by a hundredth of a nat leave the softmax uniform to 1 %")
RELATIVE = Threshold(1e-3, "heuristic: a spread of a thousandth of the energies' level")
TOLD = Threshold(0.6, "guess: AUROC above which even a tiny spread tells actions apart")


def collapsed(given: Mapping[str, Measurement]) -> bool:
    """Energies that are nearly the same everywhere, and whose differences do not rank the expert's action."""
    if not all(name in given for name in NEEDED):
        return False
    spread, mean, deviation, auroc = (given[name] for name in NEEDED)
    small = high(spread) < SPREAD.value or deviation.value < RELATIVE.value * abs(mean.value)
    return small and low(auroc) <= TOLD.value
