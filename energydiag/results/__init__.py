"""Everything measured or concluded: frozen dataclasses of numbers and text, which JSON holds without loss."""

from energydiag.results.compared import Band, Compared, Difference, Limit, Ranking, Side
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
    "Band",
    "Compared",
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
