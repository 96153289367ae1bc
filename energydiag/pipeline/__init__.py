"""Where the stages meet; the command line and ``import energydiag`` both come through here."""

from energydiag.pipeline.inspecting import inspect, inspect_checkpoint
from energydiag.pipeline.inspecting_batch import inspect_batch
from energydiag.pipeline.inspecting_many import inspect_many
from energydiag.pipeline.inspecting_run import inspect_run
from energydiag.pipeline.loading import ModelOptions, load_checkpoint
from energydiag.pipeline.repair_files import repair_checkpoint
from energydiag.pipeline.repairing import RepairOptions, assist, fix_and_retrain

__all__ = [
    "ModelOptions",
    "RepairOptions",
    "assist",
    "fix_and_retrain",
    "inspect",
    "inspect_batch",
    "inspect_checkpoint",
    "inspect_many",
    "inspect_run",
    "load_checkpoint",
    "repair_checkpoint",
]
