"""Where the stages meet; the command line and ``import energydiag`` both come through here."""

from energydiag.pipeline.comparing_checkpoints import compare, compare_checkpoints
from energydiag.pipeline.comparing_runs import compare_runs
from energydiag.pipeline.identifying import load_checkpoint
from energydiag.pipeline.inspecting import inspect, inspect_checkpoint
from energydiag.pipeline.inspecting_batch import inspect_batch
from energydiag.pipeline.inspecting_many import inspect_many
from energydiag.pipeline.inspecting_run import inspect_run
from energydiag.pipeline.loading import ModelOptions
from energydiag.pipeline.repair_files import repair_checkpoint
from energydiag.pipeline.repairing import RepairOptions, assist, fix_and_retrain

__all__ = [
    "ModelOptions",
    "RepairOptions",
    "assist",
    "compare",
    "compare_checkpoints",
    "compare_runs",
    "fix_and_retrain",
    "inspect",
    "inspect_batch",
    "inspect_checkpoint",
    "inspect_many",
    "inspect_run",
    "load_checkpoint",
    "repair_checkpoint",
]
