"""The ends of a measurement's 95 % interval; the value itself where it has none."""

from __future__ import annotations

from energydiag.results import Measurement


def low(measurement: Measurement) -> float:
    """What the measurement is at least."""
    return measurement.ci95[0] if measurement.ci95 else measurement.value


def high(measurement: Measurement) -> float:
    """What the measurement is at most."""
    return measurement.ci95[1] if measurement.ci95 else measurement.value


def at_least(measurement: Measurement) -> float:
    """The smallest absolute value inside the interval."""
    bottom, top = low(measurement), high(measurement)
    return 0.0 if bottom <= 0 <= top else min(abs(bottom), abs(top))
