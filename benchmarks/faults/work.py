"""Training one run, and measuring one: each result is a folder or a file that is there whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import energydiag
from energydiag.atomic import write_text
from energydiag.errors import first_line
from energydiag.models.energy_function import EnergyFunction
from energydiag.pipeline import inspect_run
from energydiag.pipeline.inspecting_run import RUN_RULES
from energydiag.results import Diagnosis

from . import starts
from .architectures import build
from .catalogue import Run
from .data import dump, training_samples, validation_samples
from .facts import facts
from .loop import Row, train
from .recipe import Recipe

METRICS, DIAGNOSIS, LOG_DIAGNOSIS = "metrics.csv", "diagnosis.json", "log-diagnosis.json"

Plain = dict[str, Any]


def train_run(run: Run, out: Path, recipe: Recipe | None = None) -> Path:
    """Trains a run into its folder, unless that is there already.

    Args:
        run: What.
        out: The folder of all runs.
        recipe: In the place of the run's own.
    """
    folder = out / run.id
    if folder.exists():
        return folder
    recipe = recipe or run.recipe
    torch.manual_seed(recipe.seed)
    module = build(recipe.shape)
    for start in recipe.starts:
        starts.apply(module, start)
    began = {name: value.detach().clone() for name, value in module.state_dict().items()}
    training = training_samples(recipe.data, recipe.seed)
    rows = train(recipe, module, training, validation_samples(recipe.data, recipe.seed))
    seen = dump(replace(recipe.data, layers=True), recipe.seed)
    found = facts(recipe, module, began, rows, training, seen)
    truth = {
        "id": run.id,
        "kind": run.kind,
        "faults": [fault.name for fault in run.faults],
        "part": run.cell.part,
        "architecture": run.cell.architecture,
        "facts": {name: value if math.isfinite(value) else repr(value) for name, value in found.items()},
    }
    temporary = out / f".{run.id}.unfinished"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    torch.save(module.state_dict(), temporary / "checkpoint.pt")
    write_log(temporary / METRICS, rows)
    write_text(temporary / "config.json", json.dumps(recipe.to_dict(), indent=2) + "\n")
    write_text(temporary / "truth.json", json.dumps(truth, indent=2) + "\n")
    temporary.rename(folder)
    return folder


def load_run(folder: Path) -> tuple[Recipe, nn.Module]:
    """The recipe of a finished run, and its model as it was left."""
    recipe = Recipe.from_dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    weights = torch.load(folder / "checkpoint.pt", weights_only=True)
    module = build(recipe.shape)
    module.to(next(value.dtype for value in weights.values() if value.is_floating_point()))
    module.load_state_dict(weights)
    return recipe, module.eval()


def measure_run(folder: Path) -> tuple[Plain, Plain]:
    """What energydiag says of a finished run's checkpoint and of its log, as JSON has it.

    Both are written into the folder. A failure is told as ``{"kind": "failure", "error": …}``.
    """
    recipe, module = load_run(folder)
    energy = EnergyFunction(module, recipe.shape.architecture, {"tau": str(recipe.tau)})
    of_checkpoint = _caught(lambda: energydiag.inspect(energy, dump(recipe.data, recipe.seed)))
    of_log = _caught(
        lambda: inspect_run(
            folder / METRICS, negatives=recipe.negatives, head=recipe.shape.head, tau=recipe.tau, select=(RUN_RULES,)
        )
    )
    for name, found in ((DIAGNOSIS, of_checkpoint), (LOG_DIAGNOSIS, of_log)):
        write_text(folder / name, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return of_checkpoint, of_log


def _caught(diagnose: Callable[[], Diagnosis]) -> Plain:
    try:
        # what only figures need is most of a result's size
        return replace(diagnose(), distributions=(), curves=()).to_dict()
    except Exception as error:  # whatever goes wrong is a result
        return {"kind": "failure", "error": f"{type(error).__name__}: {first_line(error)}"}


def read_facts(folder: Path) -> dict[str, float]:
    """The facts that training stored."""
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    return {name: float(value) for name, value in truth["facts"].items()}


def write_log(path: Path, rows: Sequence[Row]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows([f"{value:.9g}" for value in row.values()] for row in rows)
    write_text(path, text.getvalue())
