"""Trains the sample energy heads and saves each as its owner would have."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from energydiag.atomic import write_with
from energydiag.batch import Batch
from energydiag.files.write_safetensors import write_safetensors
from energydiag.heads import head_form
from energydiag.models.cross_attention import CrossAttentionEnergy
from energydiag.models.energy_function import EnergyFunction
from energydiag.plan import Descent, TrainingPlan
from energydiag.training.loop import LogRow, train

NOT_LOGGED = {"base_tau", "clip_norm", "validation_score", "seconds"}
"""Columns that are always the same, never measured, or different every time."""

HIDDEN = 64
NHEAD = 8


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How one sample comes about.

    file: its name. head: variant of the head. plan: its training. prefix: before every key of its state dict.
    normalise_actions: whether a LayerNorm stands over the raw action. dropout: on the action tokens. tells: whether the
    file holds metadata.
    """

    file: str
    head: str
    plan: TrainingPlan
    prefix: str = ""
    normalise_actions: bool = True
    dropout: float = 0.2
    tells: bool = False


RECIPES = {
    # The public head as it is: features averaged over the steps, a sigmoid energy, in-batch negatives, tau .5. Its loss
    # soon is a flat line.
    "original": Recipe("original.pt", "original", TrainingPlan(steps=1200, tau=0.5, clip_norm=None)),
    # The same with a learning rate 300 times too high: raw values end near +299, where the slope is exactly 0.
    "collapsed": Recipe(
        "collapsed.pt",
        "original",
        TrainingPlan(steps=200, tau=0.5, learning_rate=0.3, clip_norm=None, weight_decay=0.0),
        prefix="module.",
    ),
    # The often proposed repair as one bundle: wider sigmoid, tau .3, learning rate x 0.1, clipping at .3, and the
    # improved negatives in the place of the in-batch ones.
    "rescaled": Recipe(
        "rescaled.safetensors",
        "rescaled",
        TrainingPlan(steps=1200, tau=0.3, learning_rate=1e-4, clip_norm=0.3, swap=False, improved_negatives=True),
        tells=True,
    ),
    # Logits built as E / tau instead of -E / tau.
    "inverted": Recipe("inverted.pt", "linear", TrainingPlan(steps=400, tau=1.0, anchor=1e-3, sign=-1)),
    "healthy": Recipe(
        "healthy.safetensors",
        "linear",
        TrainingPlan(
            steps=1000,
            learning_rate=2e-3,
            schedule="cosine",
            tau=1.0,
            sources=("layers", "noise"),
            descent=Descent(),
            alignment=2.0,
            ranking=1.0,
            anchor=1e-3,
        ),
        normalise_actions=False,
        dropout=0.0,
        tells=True,
    ),
}


def build(recipe: Recipe, context: int, actions: int) -> CrossAttentionEnergy:
    """The module of a sample, for contexts and actions of these widths."""
    module = CrossAttentionEnergy(
        context, actions, hidden=HIDDEN, nhead=NHEAD, head=recipe.head, normalise_actions=recipe.normalise_actions
    )
    module.position_dropout.p = recipe.dropout
    return module


def make_head(name: str, batch: Batch, out: Path, seed: int) -> None:
    """Trains the sample ``name`` on ``batch`` and writes its checkpoint and its training log below ``out``."""
    recipe, started = RECIPES[name], time.perf_counter()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # sums come out the same on any number of cores
    torch.manual_seed(seed)
    module = build(recipe, batch.hidden.shape[-1], batch.actions.shape[-1])
    plan = dataclasses.replace(recipe.plan, seed=seed)
    rows = train(EnergyFunction(module, "cross-attention"), batch, plan).rows
    state = {recipe.prefix + key: value for key, value in module.state_dict().items()}
    if recipe.tells:
        metadata = {
            "architecture": "cross-attention",
            **head_form(recipe.head).settings,
            "nhead": str(NHEAD),
            "tau": str(plan.tau),
        }
        write_safetensors(out / recipe.file, state, metadata)
    else:
        content = io.BytesIO()  # given a path, torch writes its name into the file, and this one is temporary
        torch.save(state, content)
        write_with(out / recipe.file, lambda path: path.write_bytes(content.getvalue()))
    write_log(out / "runs" / name, rows, recipe, plan)
    print(f"{name}: {len(rows)} log rows, last loss {rows[-1].loss:.3f}, {time.perf_counter() - started:.0f} s")


def write_log(folder: Path, rows: Sequence[LogRow], recipe: Recipe, plan: TrainingPlan) -> None:
    """Writes metrics.csv, without the columns that say nothing here, and config.json."""
    columns = [field.name for field in dataclasses.fields(LogRow) if field.name not in NOT_LOGGED]

    def write_rows(path: Path) -> None:
        with path.open("w", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows([f"{getattr(row, c):.6g}" if c != "step" else row.step for c in columns] for row in rows)

    config = {**head_form(recipe.head).settings, "nhead": NHEAD, "hidden": HIDDEN, **dataclasses.asdict(plan)}
    write_with(folder / "metrics.csv", write_rows)
    write_with(folder / "config.json", lambda path: path.write_text(json.dumps(config, indent=2) + "\n"))


def with_energies(name: str, out: Path, dump: dict[str, Tensor]) -> dict[str, Tensor]:
    """A dump with what the code that trained the sample ``name`` gives for it: `build`, with the saved weights."""
    recipe = RECIPES[name]
    module = build(recipe, dump["hidden"].shape[-1], dump["actions"].shape[-1]).eval()
    state = torch.load(out / recipe.file, weights_only=True)
    module.load_state_dict({key.removeprefix(recipe.prefix): value for key, value in state.items()})
    with torch.no_grad():
        energies = module(dump["hidden"].float(), dump["actions"].float(), dump["pad_mask"])
    return {**dump, "energies": energies}


def small_batch(dump: dict[str, Tensor], rows: int) -> dict[str, Tensor]:
    """Some of a dump's samples, spread evenly over it."""
    index = torch.linspace(0, len(dump["hidden"]) - 1, rows).round().long()
    return {key: value[index].contiguous() for key, value in dump.items()}
