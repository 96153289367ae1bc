"""One faulty run under three treatments, told in one file that is there whole or not at all."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from energydiag.atomic import write_text
from energydiag.errors import first_line
from energydiag.models.energy_function import EnergyFunction
from energydiag.pipeline import inspect_run
from energydiag.pipeline.inspecting_run import RUN_RULES
from energydiag.pipeline.proof import proof_names
from energydiag.plan import TrainingPlan

from ..data import dump, training_samples
from ..recipe import Recipe
from ..report import verdicts_of
from ..score import Verdict
from ..work import METRICS, load_run
from .treatments import Clinic, proof_numbers, treated

STEPS = 500
"""Of every treatment that trains: half of what the command does if not told otherwise, and the fewest with which the
automatic plan draws weights anew (`energydiag.fixes.planning.FEWEST_STEPS_FROM_FRESH`)."""


def diagnosable(runs: Path, part: str) -> list[Verdict]:
    """The runs of a part with one fault that took effect and stands first in the diagnosis of checkpoint and log."""
    return [
        v for v in verdicts_of(runs, "both") if v.part == part and v.kind == "fault" and v.counts and v.root_is_right
    ]


def owner_plan(recipe: Recipe, steps: int) -> TrainingPlan:
    """What ``fix-and-retrain --steps … --batch-size … --learning-rate … --tau …`` makes of the owner's recipe.

    The command cannot be told the rest: its control trains with AdamW, InfoNCE over swap negatives and no clipping.
    """
    return TrainingPlan(
        steps=steps,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        tau=recipe.tau,
        clip_norm=None,
    )


def repair_run(run: Verdict, runs: Path, out: Path, steps: int = STEPS) -> Path:
    """Treats a run, unless that was done already; a failure is told as a result.

    Args:
        run: Which one, and what its diagnosis says.
        runs: The folder of the trained runs.
        out: Where the results go.
        steps: Of every treatment.
    """
    path = out / f"{run.id}.json"
    if path.exists():
        return path
    began = time.process_time()
    told: dict[str, Any] = {
        "id": run.id,
        "fault": run.truth[0],
        "architecture": run.architecture,
        "part": run.part,
        "root": run.root,
        "steps": steps,
    }
    try:
        told |= _treated(run.id, runs / run.id, steps)
    except Exception as error:  # one run that cannot be treated must not end the others
        told["error"] = f"{type(error).__name__}: {first_line(error)}"
    told["seconds"] = round(time.process_time() - began, 2)
    out.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(_plain(told), indent=1, ensure_ascii=False) + "\n")
    return path


def _treated(name: str, folder: Path, steps: int) -> dict[str, Any]:
    recipe, module = load_run(folder)
    energy = EnergyFunction(module, recipe.shape.architecture, {"tau": str(recipe.tau)})
    heldout = dump(recipe.data, recipe.seed)
    told = {"negatives": recipe.negatives, "head": recipe.shape.head, "tau": recipe.tau}
    log = inspect_run(folder / METRICS, **told, select=(RUN_RULES,)).measurements
    clinic = Clinic(energy, training_samples(recipe.data, recipe.seed), heldout, owner_plan(recipe, steps), log)
    outcomes = treated(clinic, name)
    return {
        "planned_from": [finding.code for finding in clinic.examined.patient.findings],
        "found_on_heldout": [finding.code for finding in clinic.before.findings],
        "before": proof_numbers(clinic.before, proof_names(clinic.heldout)),
        "treatments": {treatment: outcome.to_dict() for treatment, outcome in outcomes.items()},
    }


def results_in(out: Path, part: str) -> Sequence[dict[str, Any]]:
    """What was told of the runs of a part, in order of their names."""
    every = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(out.glob("*.json"))]
    return [told for told in every if told["part"] == part]


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _plain(held) for key, held in value.items()}
    return [_plain(held) for held in value] if isinstance(value, list | tuple) else value
