"""Every run of the benchmark: its name tells everything that it does."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .facts import is_well
from .families import conditioning, contrast, head, optimising, samples, weights
from .fault import Facts, Fault
from .recipe import Recipe

FAULTS: Mapping[str, Fault] = {
    fault.name: fault
    for family in (head, contrast, conditioning, weights, optimising, samples)
    for fault in family.FAULTS
}

PAIRS = (
    ("bounded-energy", "dominating-dimension"),
    ("sign-flipped", "nan-rows"),
    ("saturated-high", "duplicated-samples"),
    ("contexts-shuffled", "energy-drift"),
    ("dead-head", "constant-dimension"),
    ("action-layernorm", "unscaled-context"),
    ("noise-only-negatives", "misaligned-chunks"),
    ("inverted-mask", "nan-rows"),
    ("energy-drift", "misaligned-chunks"),
    ("easy-negatives", "action-layernorm"),
    ("dead-relus", "duplicated-samples"),
    ("weight-decay-too-strong", "dominating-dimension"),
    ("stale-batchnorm", "constant-dimension"),
    ("symmetric-units", "all-padded-rows"),
)
"""Faults that can be there together and leave each other visible."""

CONTROLS = 9
"""Healthy runs in every cell."""


@dataclass(frozen=True)
class Cell:
    """One architecture with one seed, on one set of tasks."""

    architecture: str
    seed: int
    part: str
    tasks: str
    pairs: bool = False


CELLS = (
    Cell("concat-mlp", 0, "calibration", "five", pairs=True),
    Cell("two-tower", 2, "calibration", "three", pairs=True),
    Cell("cross-attention", 0, "calibration", "five"),
    Cell("film", 2, "calibration", "three", pairs=True),
    Cell("concat-mlp", 4, "calibration", "three"),
    Cell("cross-attention", 4, "calibration", "three", pairs=True),
    Cell("concat-mlp", 1, "calibration", "five"),
    Cell("film", 3, "calibration", "three"),
    Cell("two-tower", 3, "calibration", "three"),
    Cell("cross-attention", 1, "calibration", "five"),
    Cell("distance", 5, "test", "others", pairs=True),
    Cell("hadamard", 5, "test", "others", pairs=True),
    Cell("cross-attention", 7, "test", "others", pairs=True),
    Cell("two-tower", 7, "test", "others"),
    Cell("distance", 6, "test", "others"),
    Cell("hadamard", 6, "test", "others"),
)
"""In the order of training."""

HELD_OUT = ("distance", "hadamard")
"""Architectures that no threshold was ever calibrated on. Tasks and seeds of the test part are all of that kind."""


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        kind: ``"fault"``, ``"healthy"`` or ``"pair"``.
        name: Of the fault, the two faults, or the control.
        cell: Where.
    """

    kind: str
    name: str
    cell: Cell

    @property
    def id(self) -> str:
        """The name of its folder; everything that the run does follows from it."""
        return f"{self.name}.{self.cell.architecture}.s{self.cell.seed}"

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What is wrong with it."""
        return tuple(FAULTS[name] for name in self.name.split("+")) if self.kind != "healthy" else ()

    @property
    def recipe(self) -> Recipe:
        """How it is trained."""
        dice = random.Random(self.id)
        needs_tokens = any(fault.needs_tokens for fault in self.faults)
        needs_layers = any(fault.needs_layers for fault in self.faults)
        found = good_recipe(self.cell, dice, tokens=needs_tokens, layers=needs_layers, wide=self.kind == "healthy")
        for fault in self.faults:
            found = fault.edit(found)
        return found

    def took_effect(self, found: Facts) -> tuple[bool, ...]:
        """For each fault whether it took hold; for a control whether it is well."""
        if self.kind == "healthy":
            return (is_well(_Lenient(found)),)
        return tuple(fault.took_effect(_Lenient(found)) for fault in self.faults)


class _Lenient(dict[str, float]):
    """Facts in which one that could not be measured is NaN, with which every comparison fails."""

    def __missing__(self, key: str) -> float:
        return float("nan")


def good_recipe(cell: Cell, dice: random.Random, *, tokens: bool, layers: bool, wide: bool) -> Recipe:
    """A recipe that is known to work, varied in what should not matter.

    Args:
        cell: Architecture, seed and tasks.
        dice: Decides the variation.
        tokens: Whether contexts must be tokens.
        layers: Whether the dump must hold what the policy would have done.
        wide: Whether to vary further than faulty runs are varied, as for controls.
    """
    crossing = cell.architecture == "cross-attention"
    plain = Recipe(
        seed=cell.seed,
        steps=240 if crossing else 400,
        batch_size=32 if crossing else 40,
        alignment=2.0,
        ranking=1.0,
        learning_rate=5e-3 * dice.choice((0.7, 1.0, 1.4)),
        tau=dice.choice((0.5, 1.0, 1.0)),
        weight_decay=dice.choice((0.0, 0.01, 0.1)),
    )
    pooled = not crossing and not tokens and dice.random() < 0.15
    shape = replace(
        plain.shape,
        architecture=cell.architecture,
        width=dice.choice((24, 32)) if crossing else dice.choice((24, 32, 40)),
        head=dice.choice(("linear", "linear", "softplus")),
        activation="silu" if cell.architecture == "cross-attention" else dice.choice(("silu", "gelu")),
        pooling="mean" if pooled else "attention",
    )
    data = replace(plain.data, tasks=cell.tasks, pooled=pooled, layers=layers or dice.random() < 0.75)
    found = replace(plain, shape=shape, data=data)
    return _wider(found, dice) if wide else found


def _wider(given: Recipe, dice: random.Random) -> Recipe:
    changes: dict[str, Any] = {
        "steps": round(given.steps * dice.choice((1.25, 1.5))),
        "share_done": dice.choice((1.0, 1.0, 0.7)),
        "batch_size": dice.choice((given.batch_size, given.batch_size, 48)),
        "tau": dice.choice((0.3, 0.5, 1.0, 2.0)),
        "clip": dice.choice((1.0, 1.0, 5.0)),
        "anchor": dice.choice((1e-3, 1e-3, 1e-2)),
    }
    shape = replace(given.shape, dropout=dice.choice((0.0, 0.0, 0.05)))
    if shape.architecture != "cross-attention":  # that one is energydiag's own, with its own activation
        shape = replace(shape, activation=dice.choice((shape.activation, shape.activation, "relu")))
    return replace(given, shape=shape, **changes)


def runs(part: str = "all") -> list[Run]:
    """All runs of a part, such that every beginning of the list holds about as many of every fault."""
    found = []
    for cell in CELLS:
        if part not in ("all", cell.part):
            continue
        found += [Run("fault", name, cell) for name in FAULTS]
        if cell.pairs:
            found += [Run("pair", f"{a}+{b}", cell) for a, b in PAIRS]
        found += [Run("healthy", f"healthy-{i}", cell) for i in range(CONTROLS)]
    return found
