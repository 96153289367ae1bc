"""Where the stages meet; the command line and ``import energydiag`` both come through here.

Each function is loaded at its first use: what a log alone needs does not load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from energydiag.pipeline.comparing_checkpoints import compare as compare
    from energydiag.pipeline.comparing_checkpoints import compare_checkpoints as compare_checkpoints
    from energydiag.pipeline.comparing_runs import compare_runs as compare_runs
    from energydiag.pipeline.identifying import load_checkpoint as load_checkpoint
    from energydiag.pipeline.inspecting import inspect as inspect
    from energydiag.pipeline.inspecting import inspect_checkpoint as inspect_checkpoint
    from energydiag.pipeline.inspecting_batch import inspect_batch as inspect_batch
    from energydiag.pipeline.inspecting_many import inspect_many as inspect_many
    from energydiag.pipeline.inspecting_run import inspect_run as inspect_run
    from energydiag.pipeline.loading import ModelOptions as ModelOptions
    from energydiag.pipeline.repair_files import repair_checkpoint as repair_checkpoint
    from energydiag.pipeline.repairing import RepairOptions as RepairOptions
    from energydiag.pipeline.repairing import assist as assist
    from energydiag.pipeline.repairing import fix_and_retrain as fix_and_retrain

_HOME = {
    "ModelOptions": "loading",
    "RepairOptions": "repairing",
    "assist": "repairing",
    "compare": "comparing_checkpoints",
    "compare_checkpoints": "comparing_checkpoints",
    "compare_runs": "comparing_runs",
    "fix_and_retrain": "repairing",
    "inspect": "inspecting",
    "inspect_batch": "inspecting_batch",
    "inspect_checkpoint": "inspecting",
    "inspect_many": "inspecting_many",
    "inspect_run": "inspecting_run",
    "load_checkpoint": "identifying",
    "repair_checkpoint": "repair_files",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
