"""Edges of the rules on heads and separation; see `first.py` for how to read them."""

from __future__ import annotations

Values = dict[str, float | tuple[float, float]]

TOP1 = {"top1.swap.chance": 1 / 64}
# with 63 negatives and top-1 .5, a model that knows nothing but its favourite has log 2 + log(63)/2 = 2.765
HALF: Values = {**TOP1, "top1.swap": 0.5, "auroc.swap": 0.9}
EXPLODED: Values = {"loss.swap.chance": 4.16, "auroc.swap": 0.81}
FAR: Values = {"head.energy_mean": -4e4, "head.energy_std": 1.0}
NOISE = "auroc.noise_0.05"

EDGES: list[tuple[str, Values, Values, str]] = [
    ("ED107", {**FAR, "head.rounding": 0.05}, {**FAR, "head.rounding": 0.051}, "warning"),
    ("ED107", {**FAR, "head.rounding": 1.01}, {**FAR, "head.rounding": 1.0}, "warning"),
    (
        "ED108",
        {"head.energy_spread": (100.0, 120.0), "loss.swap": 9.0, **EXPLODED},
        {"head.energy_spread": (101.0, 120.0), "loss.swap": 9.0, **EXPLODED},
        "warning",
    ),
    (
        "ED108",
        {"head.energy_spread": 500.0, "loss.swap": (4.0, 9.0), **EXPLODED},
        {"head.energy_spread": 500.0, "loss.swap": (4.2, 9.0), **EXPLODED},
        "warning",
    ),
    ("ED108", {}, {"head.energy_spread": 500.0, "loss.swap": 9.0, "loss.swap.chance": 4.16}, "critical"),
    ("ED108", {}, {"head.energy_spread": 500.0, "loss.swap": 9.0, **EXPLODED, "auroc.swap": 0.79}, "critical"),
    (
        "ED204",
        {**HALF, "npc.swap": 0.9, "loss.swap": (2.76, 3.2)},
        {**HALF, "npc.swap": 0.9, "loss.swap": (2.77, 3.2)},
        "warning",
    ),
    ("ED204", {**HALF, "npc.swap": 0.75, "loss.swap": 3.0}, {**HALF, "npc.swap": 0.76, "loss.swap": 3.0}, "warning"),
    (
        "ED204",
        {**HALF, "auroc.swap": (0.8, 0.9), "npc.swap": 0.9, "loss.swap": 3.0},
        {**HALF, "auroc.swap": (0.81, 0.9), "npc.swap": 0.9, "loss.swap": 3.0},
        "warning",
    ),
    (
        "ED205",
        {**HALF, "npc.swap": 0.5, "loss.swap": (5.52, 9.0)},
        {**HALF, "npc.swap": 0.5, "loss.swap": (5.54, 9.0)},
        "warning",
    ),
    ("ED205", {**HALF, "npc.swap": 0.51, "loss.swap": 9.0}, {**HALF, "npc.swap": 0.49, "loss.swap": 9.0}, "warning"),
    (
        "ED205",
        {**TOP1, "top1.swap": 1.0, "auroc.swap": 1.0, "npc.swap": 0.0, "loss.swap": 0.0},
        {**TOP1, "top1.swap": 1.0, "auroc.swap": 1.0, "npc.swap": 0.0, "loss.swap": 0.01},
        "warning",
    ),
    (
        "ED206",
        {"auroc.swap": 0.95, "auroc.policy": (0.4, 0.60), NOISE: 0.8},
        {"auroc.swap": 0.95, "auroc.policy": (0.4, 0.59), NOISE: 0.8},
        "warning",
    ),
    (
        "ED206",
        {"auroc.swap": (0.75, 0.95), "auroc.policy": 0.5, NOISE: 0.8},
        {"auroc.swap": (0.76, 0.95), "auroc.policy": 0.5, NOISE: 0.8},
        "warning",
    ),
    (
        "ED206",
        {"auroc.swap": 0.95, "auroc.policy": 0.5, NOISE: (0.8, 0.90)},
        {"auroc.swap": 0.95, "auroc.policy": 0.5, NOISE: (0.8, 0.89)},
        "warning",
    ),
    ("ED206", {"auroc.swap": 0.95, NOISE: 0.60}, {"auroc.swap": 0.95, NOISE: 0.59}, "warning"),
    (
        "ED207",
        {"auroc.noise_0.15": (0.80, 0.9), "auroc.swap": 0.55},
        {"auroc.noise_0.15": (0.81, 0.9), "auroc.swap": 0.55},
        "critical",
    ),
    (
        "ED207",
        {"auroc.noise_0.15": 0.9, "auroc.swap": (0.6, 0.85)},
        {"auroc.noise_0.15": 0.9, "auroc.swap": (0.6, 0.84)},
        "warning",
    ),
    ("ED207", {}, {"auroc.noise_0.15": 0.9, "auroc.swap": (0.5, 0.59)}, "critical"),
    (
        "ED207",
        {"auroc.noise_0.15": 0.9, "auroc.swap": 0.5, "run.chance_gap": (0.01, 0.04)},
        {"auroc.noise_0.15": 0.9, "auroc.swap": 0.5, "run.chance_gap": (0.01, 0.05)},
        "critical",
    ),
    (
        "ED207",
        {"auroc.noise_0.15": (0.82, 0.9), "auroc.swap": (0.7, 0.83)},
        {"auroc.noise_0.15": 0.9, "auroc.swap": 0.83},
        "warning",
    ),
    (
        "ED207",
        {"auroc.noise_0.15": 0.9, "auroc.swap": (0.3, 0.49)},
        {"auroc.noise_0.15": 0.9, "auroc.swap": (0.4, 0.51)},
        "critical",
    ),
]
