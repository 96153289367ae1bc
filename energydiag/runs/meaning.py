"""What the series of a log mean when runs are compared: direction, the smallest change that matters, what seeds do.

``seeds`` is how far apart runs are that differ by nothing but their seed (weights, batches, noise), as a standard
deviation: measured by ``benchmarks/seeds.py`` over 12 healthy configurations of the fault benchmark, 6 seeds each, at
the end of the run; the value is the 80th percentile over configurations. It stands for what a single run a side cannot
tell; where several seeds are given, they are asked instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

HEAD, TAU, NEGATIVES = "head", "τ", "negatives"


@dataclass(frozen=True)
class Meaning:
    """What a series means.

    Attributes:
        better: Which direction is good.
        matters: The smallest change that matters (guesses), in the series' unit or as a share of the first side's size.
        seeds: Standard deviation between seeds, likewise.
        relative: Whether both are shares.
        bound_to: What must be the same in two runs for their values to mean the same.
    """

    better: Literal["higher", "lower"]
    matters: float
    seeds: float
    relative: bool = False
    bound_to: tuple[str, ...] = ()

    def scaled(self, number: float, value: float) -> float:
        """``matters`` or ``seeds`` in the series' unit, beside this value of it."""
        return number * abs(value) if self.relative else number


MEANINGS: Mapping[str, Meaning] = {
    "validation_loss": Meaning("lower", 0.02, 0.06, relative=True, bound_to=(HEAD, TAU, NEGATIVES)),
    "info_nce": Meaning("lower", 0.02, 0.063, relative=True, bound_to=(HEAD, TAU, NEGATIVES)),
    "loss": Meaning("lower", 0.02, 0.043, relative=True, bound_to=(HEAD, TAU, NEGATIVES)),
    "auroc": Meaning("higher", 0.005, 0.0032),
    "top1": Meaning("higher", 0.02, 0.048, bound_to=(NEGATIVES,)),
    "gap": Meaning("higher", 0.05, 0.071, relative=True, bound_to=(HEAD, TAU)),
    "saturation": Meaning("lower", 0.02, 0.016),
}
"""By our names; all other series have no direction."""

NONE_BETTER = ("energy_positive", "energy_negative", "gradient_norm", "weight_norm", "update_ratio", "clipped")
"""Series that are compared without a direction."""
