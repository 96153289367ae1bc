"""Numbers as rules write them in sentences."""

from __future__ import annotations

from energydiag.results import Measurement

_EXACT = 1e-9
"""A share closer to 1 is 1, but for the rounding of sums."""


def percent(value: float) -> str:
    """A share as a percentage: whole up to 99 %, two digits below 1 %, and 0 or 100 only where it is exactly that."""
    share = 100 * value
    if share == 0 or abs(value - 1) < _EXACT:
        return f"{share:.0f} %"
    if share < 1:
        return f"{share:.2g} %"
    if 99.9 < share < 100:
        return ">99.9 %"
    return f"{share:.1f} %" if 99 < share < 100 else f"{share:.0f} %"


def number(value: float) -> str:
    """Three significant digits; scientific below a thousandth and above a hundred thousand."""
    if value == 0:
        return "0"
    return f"{value:.3g}" if 1e-3 <= abs(value) < 1e5 else f"{value:.1e}"


def with_interval(measurement: Measurement) -> str:
    """``.954 (95 % interval .941 to .966)``."""
    if measurement.ci95 is None:
        return number(measurement.value)
    low, high = measurement.ci95
    return f"{number(measurement.value)} (95 % interval {number(low)} to {number(high)})"
