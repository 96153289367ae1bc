"""Everything measured or concluded: frozen dataclasses of numbers and text, which JSON holds without loss."""

from energydiag.results.comparison import Comparison, MetricChange
from energydiag.results.diagnosis import (
    SCHEMA_VERSION,
    Curve,
    Diagnosis,
    Distribution,
    Finding,
    Measurement,
    Severity,
    Skipped,
    Verdict,
)
from energydiag.results.fleet import Fleet, Inspected
from energydiag.results.repair import Ablation, Applied, Repair

__all__ = [
    "SCHEMA_VERSION",
    "Ablation",
    "Applied",
    "Comparison",
    "Curve",
    "Diagnosis",
    "Distribution",
    "Finding",
    "Fleet",
    "Inspected",
    "Measurement",
    "MetricChange",
    "Repair",
    "Severity",
    "Skipped",
    "Verdict",
]
