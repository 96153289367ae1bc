"""A stranger's training loop, and everything that could be logged of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from .losses import LOSSES, Scene
from .world import Dump

Row = dict[str, float]


@dataclass(frozen=True)
class Recipe:
    """How a case is trained.

    Attributes:
        objective: A key of ``LOSSES``.
        steps: Of training.
        batch: Samples a step.
        rate: Learning rate.
        options: Settings of the objective.
        schedule: ``constant``, ``cosine``, ``zero`` or ``growing``.
        optimizer: ``adam`` or ``sgd``.
        decay: Weight decay, within the gradient.
        clip: Longest gradient; 0: none.
        only: Beginnings of the names of the parameters that are trained; all of them where empty.
        forgets: Whether gradients are set to zero before a step.
        every: Steps from row to row of the log.
        validate: Rows from validation to validation; 0: none.
        training_episodes: Of the world.
        rows: Training samples that are used; 0: all.
    """

    objective: str
    steps: int = 300
    batch: int = 32
    rate: float = 2e-3
    options: Mapping[str, Any] = field(default_factory=dict)
    schedule: str = "cosine"
    optimizer: str = "adam"
    decay: float = 0.0
    clip: float = 0.0
    only: tuple[str, ...] = ()
    forgets: bool = True
    every: int = 5
    validate: int = 0
    training_episodes: int = 150
    rows: int = 0


def fit(module: nn.Module, recipe: Recipe, training: Dump, heldout: Dump, sign: float, seed: int = 3) -> list[Row]:
    """Trains the module; a row for every few steps."""
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)
    if recipe.rows:
        training = {name: value[: recipe.rows] for name, value in training.items()}
    training = {name: value for name, value in training.items() if name not in ("episode", "step")}
    count = len(training["actions"])
    trained = [p for name, p in module.named_parameters() if not recipe.only or name.startswith(recipe.only)]
    optimizer = _optimizer(recipe, trained)
    options = {**recipe.options, "size": count}
    memory: dict[str, Any] = {}
    rows: list[Row] = []
    seen: list[float] = []
    for step in range(1, recipe.steps + 1):
        picked = torch.randperm(count, generator=draw)[: recipe.batch]
        batch = {name: value[picked] for name, value in training.items()} | {"rows": picked}
        module.train()
        for group in optimizer.param_groups:
            group["lr"] = _rate(recipe, step)
        loss, stats = LOSSES[recipe.objective](Scene(module, batch, draw, sign, options, memory, step))
        if recipe.forgets:
            optimizer.zero_grad()
        loss.backward()
        norm = _norm(trained)
        if recipe.clip:
            nn.utils.clip_grad_norm_(trained, recipe.clip)
        optimizer.step()
        seen.append(loss.item())
        if step % recipe.every == 0 or step == 1:
            row = {
                "step": step,
                "epoch": step * recipe.batch / count,
                "loss": sum(seen) / len(seen),
                "last_loss": seen[-1],
            }
            row |= {
                "grad_norm": norm,
                "lr": _rate(recipe, step),
                "seconds": step * 0.11,
                "weight_norm": _weights(module),
                **stats,
            }
            if recipe.validate and len(rows) % recipe.validate == 0:
                row |= validation(module, recipe, heldout, sign, step)
            rows.append(row)
            seen = []
    module.eval()
    return rows


def validation(module: nn.Module, recipe: Recipe, heldout: Dump, sign: float, step: int) -> Row:
    """The objective on a fixed batch of held-out samples, as ``val_…``."""
    draw = torch.Generator().manual_seed(99)
    size = min(recipe.batch, len(heldout["actions"]))
    picked = torch.randperm(len(heldout["actions"]), generator=draw)[: 4 * size].split(size)
    module.eval()
    found: list[Row] = []
    for part in picked:
        if len(part) < size:
            continue
        batch = {name: value[part] for name, value in heldout.items() if name in ("hidden", "actions", "pad_mask")}
        objective = "infonce" if recipe.objective == "queue" else recipe.objective
        scene = Scene(module, batch, draw, sign, {**recipe.options, "coin": recipe.options.get("coin")}, {}, step)
        loss, stats = LOSSES[objective](scene)
        found.append({"loss": loss.item(), **stats})
    return {f"val_{name}": sum(row[name] for row in found) / len(found) for name in found[0]}


def _optimizer(recipe: Recipe, trained: list[nn.Parameter]) -> torch.optim.Optimizer:
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(trained, recipe.rate, momentum=0.9, weight_decay=recipe.decay)
    return torch.optim.Adam(trained, recipe.rate, weight_decay=recipe.decay)


def _rate(recipe: Recipe, step: int) -> float:
    done = step / recipe.steps
    return {
        "constant": recipe.rate,
        "cosine": recipe.rate * (0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2),
        "zero": 0.0,
        "growing": recipe.rate * 10 ** (3 * done),
    }[recipe.schedule]


def _norm(parameters: list[nn.Parameter]) -> float:
    squares = [p.grad.double().pow(2).sum() for p in parameters if p.grad is not None]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0


@torch.no_grad()
def _weights(module: nn.Module) -> float:
    return float(torch.stack([p.double().pow(2).sum() for p in module.parameters()]).sum().sqrt())
