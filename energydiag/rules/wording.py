"""Numbers as rules write them in sentences."""

from __future__ import annotations

from energydiag.results import Measurement


def percent(value: float) -> str:
    """A share as a percentage: whole above 1 %, two digits below, and never rounded to 0 or 100 unless exact."""
    share = 100 * value
    if share in (0.0, 100.0):
        return f"{share:.0f} %"
    if share < 1:
        return f"{share:.2g} %"
    return f"{min(share, 99.9):.1f} %" if share > 99 else f"{share:.0f} %"


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
