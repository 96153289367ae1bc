"""The health check for energy models: what a trained energy head E(h, a) suffers from, and what to change.

Everything here is loaded at its first use; importing the package loads neither torch nor anything else that is heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from energydiag import dump as dump
    from energydiag.batch import Batch as Batch
    from energydiag.batches import load_batch as load_batch
    from energydiag.energies import pairwise_energies as pairwise_energies
    from energydiag.errors import EnergydiagError as EnergydiagError
    from energydiag.models.calling import Calling as Calling
    from energydiag.models.energy_function import EnergyFunction as EnergyFunction
    from energydiag.monitor import Monitor as Monitor
    from energydiag.pipeline import ModelOptions as ModelOptions
    from energydiag.pipeline import RepairOptions as RepairOptions
    from energydiag.pipeline import compare as compare
    from energydiag.pipeline import compare_checkpoints as compare_checkpoints
    from energydiag.pipeline import compare_runs as compare_runs
    from energydiag.pipeline import fix_and_retrain as fix_and_retrain
    from energydiag.pipeline import inspect as inspect
    from energydiag.pipeline import inspect_batch as inspect_batch
    from energydiag.pipeline import inspect_checkpoint as inspect_checkpoint
    from energydiag.pipeline import inspect_many as inspect_many
    from energydiag.pipeline import inspect_run as inspect_run
    from energydiag.pipeline import load_checkpoint as load_checkpoint
    from energydiag.pipeline.loading import SharedForm as SharedForm
    from energydiag.plan import Descent as Descent
    from energydiag.plan import TrainingPlan as TrainingPlan
    from energydiag.results import Ablation as Ablation
    from energydiag.results import Applied as Applied
    from energydiag.results import Band as Band
    from energydiag.results import BatchDiagnosis as BatchDiagnosis
    from energydiag.results import BatchFacts as BatchFacts
    from energydiag.results import Cause as Cause
    from energydiag.results import Changes as Changes
    from energydiag.results import CheckpointDiagnosis as CheckpointDiagnosis
    from energydiag.results import CheckpointFacts as CheckpointFacts
    from energydiag.results import Comparison as Comparison
    from energydiag.results import Curve as Curve
    from energydiag.results import Diagnosis as Diagnosis
    from energydiag.results import Difference as Difference
    from energydiag.results import Distribution as Distribution
    from energydiag.results import Finding as Finding
    from energydiag.results import Fleet as Fleet
    from energydiag.results import Inspected as Inspected
    from energydiag.results import Limit as Limit
    from energydiag.results import Measurement as Measurement
    from energydiag.results import MetricChange as MetricChange
    from energydiag.results import Open as Open
    from energydiag.results import Outcome as Outcome
    from energydiag.results import Ranking as Ranking
    from energydiag.results import Repair as Repair
    from energydiag.results import RunDiagnosis as RunDiagnosis
    from energydiag.results import RunFacts as RunFacts
    from energydiag.results import Side as Side
    from energydiag.results import Skipped as Skipped
    from energydiag.results import Use as Use
    from energydiag.runs import Told as Told

__version__ = "0.2.0"

_HOME = {
    "Ablation": "energydiag.results",
    "Applied": "energydiag.results",
    "Band": "energydiag.results",
    "Batch": "energydiag.batch",
    "BatchDiagnosis": "energydiag.results",
    "BatchFacts": "energydiag.results",
    "Calling": "energydiag.models.calling",
    "Cause": "energydiag.results",
    "Changes": "energydiag.results",
    "CheckpointDiagnosis": "energydiag.results",
    "CheckpointFacts": "energydiag.results",
    "Comparison": "energydiag.results",
    "Outcome": "energydiag.results",
    "Curve": "energydiag.results",
    "Descent": "energydiag.plan",
    "Diagnosis": "energydiag.results",
    "Difference": "energydiag.results",
    "Distribution": "energydiag.results",
    "EnergyFunction": "energydiag.models.energy_function",
    "EnergydiagError": "energydiag.errors",
    "Finding": "energydiag.results",
    "Fleet": "energydiag.results",
    "Inspected": "energydiag.results",
    "Limit": "energydiag.results",
    "Measurement": "energydiag.results",
    "MetricChange": "energydiag.results",
    "ModelOptions": "energydiag.pipeline",
    "Monitor": "energydiag.monitor",
    "Open": "energydiag.results",
    "Ranking": "energydiag.results",
    "Repair": "energydiag.results",
    "RepairOptions": "energydiag.pipeline",
    "RunDiagnosis": "energydiag.results",
    "RunFacts": "energydiag.results",
    "SharedForm": "energydiag.pipeline.loading",
    "Side": "energydiag.results",
    "Skipped": "energydiag.results",
    "Told": "energydiag.runs",
    "TrainingPlan": "energydiag.plan",
    "Use": "energydiag.results",
    "compare": "energydiag.pipeline",
    "compare_checkpoints": "energydiag.pipeline",
    "compare_runs": "energydiag.pipeline",
    "fix_and_retrain": "energydiag.pipeline",
    "inspect": "energydiag.pipeline",
    "inspect_batch": "energydiag.pipeline",
    "inspect_checkpoint": "energydiag.pipeline",
    "inspect_many": "energydiag.pipeline",
    "inspect_run": "energydiag.pipeline",
    "load_batch": "energydiag.batches",
    "load_checkpoint": "energydiag.pipeline",
    "pairwise_energies": "energydiag.energies",
}

__all__ = ["__version__", "dump", *_HOME]


def __getattr__(name: str) -> Any:
    if name == "dump":  # a module that users reach by its name
        return importlib.import_module("energydiag.dump")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'energydiag' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
