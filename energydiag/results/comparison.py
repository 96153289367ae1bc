"""What changed between two measurements of the same samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Better = Literal["higher", "lower", "none"]
Change = Literal["improved", "regressed", "unchanged", "inconclusive", "incomparable"]

MATTERS: Mapping[str, float] = {
    "auroc": 0.005,
    "top1": 0.02,
    "mrr": 0.02,
    "gap_std": 0.1,
    "field.spearman": 0.02,
    "field.alignment": 0.02,
    "field.correction_gain": 0.01,
    "field.monotonicity_violations": 0.02,
    "field.spurious_minimum_rate": 0.02,
    "head.slope_saturated_fraction": 0.02,
    "head.zero_slope_fraction": 0.01,
}
"""The smallest change that matters, by the beginning of a name (guesses); other names have no direction."""


def smallest_change(name: str) -> float | None:
    """The smallest change of this measurement that matters, or None where it has no direction."""
    return next((value for start, value in MATTERS.items() if name.startswith(start)), None)


@dataclass(frozen=True)
class MetricChange:
    """One number, on both sides.

    Attributes:
        name: Of the measurement.
        values: By side.
        delta: Second minus first.
        ci95: 95 % interval of the delta, paired over the same resampled episodes; None where there is none.
        better: Which direction is good; ``"none"`` where the number means nothing across heads or temperatures.
        verdict: What the interval says, given the smallest effect that matters.
    """

    name: str
    values: Mapping[str, float]
    delta: float
    ci95: tuple[float, float] | None
    better: Better
    verdict: Change

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> MetricChange:
        """The change that JSON holds."""
        return cls(**{**plain, "ci95": tuple(plain["ci95"]) if plain["ci95"] else None})


@dataclass(frozen=True)
class Comparison:
    """Two sides on the same samples.

    Attributes:
        sides: Names of first and second side.
        verdict: Over all metrics that have a direction.
        metrics: In the order of the measurements.
    """

    sides: tuple[str, str]
    verdict: Change
    metrics: tuple[MetricChange, ...]

    def metric(self, name: str) -> MetricChange | None:
        """The change of this metric, or None."""
        return next((m for m in self.metrics if m.name == name), None)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Comparison:
        """The comparison that JSON holds."""
        first, second = plain["sides"]
        return cls((first, second), plain["verdict"], tuple(MetricChange.from_dict(m) for m in plain["metrics"]))
