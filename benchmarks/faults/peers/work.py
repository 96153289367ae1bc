"""One run trained again with all peers attached, and what they say of it as one file that is there whole or not."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import nn

from energydiag.atomic import write_text
from energydiag.batch import Batch
from energydiag.errors import first_line

from .. import starts
from ..architectures import build
from ..catalogue import Run
from ..data import dump, training_samples, validation_samples
from ..facts import facts
from ..loop import Row
from ..recipe import Recipe
from .audit import TorchAudit
from .debugger import Debugger
from .mortem import Torchmortem
from .watching import Found, Watcher, train_watched

PACKAGES = ("torch", "torchmortem", "torch-audit")


def watchers() -> dict[str, Watcher]:
    """The peers, fresh, by the names under which their findings are stored."""
    return {"torchmortem": Torchmortem(), "torch-audit": TorchAudit(), "sagemaker-debugger-rules": Debugger()}


def stored_recipe(folder: Path) -> Recipe:
    """The recipe that a finished run was trained by."""
    return Recipe.from_dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))


def is_done(folder: Path, path: Path) -> bool:
    """Whether a file tells of the run as it is in its folder now, and not of one by another recipe."""
    return path.exists() and folder.exists() and _read(path).get("config") == _config(folder)


def train_again(recipe: Recipe, every: Sequence[Watcher]) -> tuple[nn.Module, dict[str, torch.Tensor], list[Row]]:
    """The trained module, the weights that it began with, and the rows of its log."""
    torch.manual_seed(recipe.seed)
    module = build(recipe.shape)
    for start in recipe.starts:
        starts.apply(module, start)
    began = {name: value.detach().clone() for name, value in module.state_dict().items()}
    training = training_samples(recipe.data, recipe.seed)
    rows = train_watched(recipe, module, training, validation_samples(recipe.data, recipe.seed), every)
    return module, began, rows


def watch_run(run: Run, folder: Path, out: Path, recipe: Recipe | None = None) -> Path:
    """Trains a finished run again with all peers attached and writes what they say.

    A peer's failure, or that of a training with peers, is a result: it is told under ``failed``.

    Args:
        run: Which.
        folder: Of the finished run.
        out: Where the files of all runs go.
        recipe: In the place of the stored one.
    """
    recipe = recipe or stored_recipe(folder)
    began = time.process_time()
    told: dict[str, Any] = {
        "id": run.id,
        "config": _config(folder),
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }
    try:
        told |= _watched(run, recipe)
    except Exception as error:
        told |= {"failed": f"{type(error).__name__}: {first_line(error)}", "findings": {}}
    told["seconds"] = round(time.process_time() - began, 1)
    path = out / f"{run.id}.json"
    write_text(path, json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    return path


def _watched(run: Run, recipe: Recipe) -> dict[str, Any]:
    every = watchers()
    module, began, rows = train_again(recipe, list(every.values()))
    inspected = as_module(dump(recipe.data, recipe.seed), module)
    told: dict[str, list[dict[str, Any]]] = {}
    failed: dict[str, str] = {}
    for name, watcher in every.items():
        try:
            told[name] = [found.to_dict() for found in watcher.findings(rows, module, inspected)]
        except Exception as error:
            failed[name], told[name] = f"{type(error).__name__}: {first_line(error)}", []
    training = training_samples(recipe.data, recipe.seed)
    seen = dump(replace(recipe.data, layers=True), recipe.seed)
    again = run.took_effect(facts(recipe, module, began, rows, training, seen))
    return {"weights": digest(module), "effective": all(again), "failures": failed, "findings": told}


def digest(module: nn.Module) -> str:
    """Of all weights, bit by bit."""
    found = hashlib.sha256()
    for name, value in module.state_dict().items():
        found.update(name.encode() + value.detach().contiguous().numpy().tobytes())
    return found.hexdigest()


def read_found(path: Path, peer: str) -> list[Found]:
    """What a peer said, in its order."""
    return [Found(**plain) for plain in _read(path)["findings"].get(peer, [])]


def _read(path: Path) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return plain


def _config(folder: Path) -> str:
    return hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()


def as_module(batch: Batch, module: nn.Module) -> Batch:
    """The batch in the module's type."""
    dtype = next(module.parameters()).dtype
    return Batch(**{n: v.to(dtype) if v.is_floating_point() else v for n, v in batch.present().items()})
