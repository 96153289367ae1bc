"""Everything measured or concluded: frozen dataclasses of numbers and text, which JSON holds without loss."""

from energydiag.results.changes import Changes, MetricChange
from energydiag.results.comparison import Band, Comparison, Difference, Limit, Outcome, Ranking, Side
from energydiag.results.diagnosis import (
    BatchDiagnosis,
    Cause,
    CheckpointDiagnosis,
    Curve,
    Diagnosis,
    Distribution,
    Finding,
    Measurement,
    Open,
    RunDiagnosis,
    Severity,
    Skipped,
    Use,
    Verdict,
)
from energydiag.results.facts import BatchFacts, CheckpointFacts, RunFacts
from energydiag.results.fleet import Fleet, Inspected
from energydiag.results.repair import Ablation, Applied, Repair
from energydiag.results.result import SCHEMA_VERSION, Result

__all__ = [
    "SCHEMA_VERSION",
    "Ablation",
    "Applied",
    "Band",
    "BatchDiagnosis",
    "BatchFacts",
    "Cause",
    "Changes",
    "CheckpointDiagnosis",
    "CheckpointFacts",
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
    "Open",
    "Outcome",
    "Ranking",
    "Repair",
    "Result",
    "RunDiagnosis",
    "RunFacts",
    "Severity",
    "Side",
    "Skipped",
    "Use",
    "Verdict",
]
