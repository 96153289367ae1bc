"""The health check for energy models: what a trained energy head E(h, a) suffers from, and what to change.

Everything here is loaded at its first use; importing the package loads neither torch nor anything else that is heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from energydiag import dump
    from energydiag.batches import load_batch
    from energydiag.energies import pairwise_energies
    from energydiag.monitor import Monitor
    from energydiag.pipeline import (
        RepairOptions,
        compare,
        compare_checkpoints,
        compare_runs,
        fix_and_retrain,
        inspect,
        inspect_many,
        inspect_run,
        load_checkpoint,
    )
    from energydiag.plan import TrainingPlan
    from energydiag.results import Comparison, Diagnosis, Fleet, Repair

__version__ = "0.2.0"

_HOME = {
    "Comparison": "energydiag.results",
    "Diagnosis": "energydiag.results",
    "Fleet": "energydiag.results",
    "Monitor": "energydiag.monitor",
    "Repair": "energydiag.results",
    "RepairOptions": "energydiag.pipeline",
    "TrainingPlan": "energydiag.plan",
    "compare": "energydiag.pipeline",
    "compare_checkpoints": "energydiag.pipeline",
    "compare_runs": "energydiag.pipeline",
    "fix_and_retrain": "energydiag.pipeline",
    "inspect": "energydiag.pipeline",
    "inspect_many": "energydiag.pipeline",
    "inspect_run": "energydiag.pipeline",
    "load_batch": "energydiag.batches",
    "load_checkpoint": "energydiag.pipeline",
    "pairwise_energies": "energydiag.energies",
}

__all__ = [
    "Comparison",
    "Diagnosis",
    "Fleet",
    "Monitor",
    "Repair",
    "RepairOptions",
    "TrainingPlan",
    "__version__",
    "compare",
    "compare_checkpoints",
    "compare_runs",
    "dump",
    "fix_and_retrain",
    "inspect",
    "inspect_many",
    "inspect_run",
    "load_batch",
    "load_checkpoint",
    "pairwise_energies",
]


def __getattr__(name: str) -> Any:
    if name == "dump":  # a module that users reach by its name
        return importlib.import_module("energydiag.dump")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'energydiag' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
