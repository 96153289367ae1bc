"""Everything measured or concluded: frozen dataclasses of numbers and text, which JSON holds without loss."""

from energydiag.results.changes import Changes, MetricChange
from energydiag.results.comparison import Band, Comparison, Difference, Limit, Ranking, Side
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
    "Band",
    "Changes",
    "Comparison",
    "Curve",
    "Diagnosis",
    "Difference",
    "Distribution",
    "Finding",
    "Fleet",
    "Inspected",
    "Limit",
    "Measurement",
    "MetricChange",
    "Ranking",
    "Repair",
    "Severity",
    "Side",
    "Skipped",
    "Verdict",
]
