"""Edges of the rules that look inside the model: its units and its weights. As `first.py`."""

from __future__ import annotations

Values = dict[str, float | tuple[float, float]]

FLAT, OFF, TWIN = "hidden.saturated_fraction", "hidden.dead_units", "weights.symmetric_units"
CONTEXTS = "gradient.context.effective_rank"
TABLE, FEATURES, WIDTH, ACTIONS = (
    "separation.table_rank",
    "hidden.effective_rank",
    "hidden.width",
    "separation.action_rank",
)
AUROC = "auroc.swap"
POOR: Values = {WIDTH: 8, AUROC: 0.79, ACTIONS: 3}
NARROW: Values = {"head.energy_spread": 0.2, "head.energy_mean": 0.0, "head.energy_std": 0.1, AUROC: 0.5}
FRESH, ENTRIES = "weights.untouched_fraction", "weights.untouched_fraction.entries"
MIDDLE, LOSS, CHANCE = "weights.rms_relative.median", "loss.swap", "loss.swap.chance"
SMALL, LARGE, ZERO = "weights.rms_relative.min", "weights.rms_relative.max", "weights.zero_layers"

EDGES: list[tuple[str, Values, Values, str]] = [
    ("ED105", {FLAT: 0.3, f"{FLAT}.worst": 0.50}, {FLAT: 0.3, f"{FLAT}.worst": 0.51}, "warning"),
    ("ED105", {FLAT: 0.3, f"{FLAT}.worst": (0.50, 0.9)}, {FLAT: 0.3, f"{FLAT}.worst": (0.51, 0.9)}, "warning"),
    ("ED105", {}, {FLAT: 0.3, f"{FLAT}.worst": (0.90, 1.0)}, "warning"),
    ("ED105", {}, {FLAT: 0.3, f"{FLAT}.worst": (0.91, 1.0)}, "critical"),
    ("ED106", {OFF: 0.6, f"{OFF}.worst": 0.65}, {OFF: 0.6, f"{OFF}.worst": 0.66}, "warning"),
    ("ED106", {OFF: 0.9, f"{OFF}.worst": (0.0, 1.0)}, {OFF: 0.1, f"{OFF}.worst": 0.7}, "warning"),
    ("ED106", {}, {OFF: 0.6, f"{OFF}.worst": 0.95}, "warning"),
    ("ED106", {}, {OFF: 0.6, f"{OFF}.worst": 0.96}, "critical"),
    ("ED305", {TWIN: 0.05, f"{TWIN}.worst": 0.10}, {TWIN: 0.05, f"{TWIN}.worst": 0.11}, "warning"),
    ("ED305", {}, {TWIN: 0.50, f"{TWIN}.worst": 1.0}, "warning"),
    ("ED305", {}, {TWIN: 0.51, f"{TWIN}.worst": 1.0}, "critical"),
    ("ED306", {CONTEXTS: 1.5, ACTIONS: 3}, {CONTEXTS: 1.49, ACTIONS: 3}, "warning"),
    ("ED306", {TABLE: 1.5, ACTIONS: 3}, {TABLE: 1.49, ACTIONS: 3}, "warning"),
    ("ED306", {TABLE: 1.0, ACTIONS: 2.9}, {TABLE: 1.0, ACTIONS: 3.0}, "warning"),
    ("ED306", {FEATURES: 1.5, **POOR}, {FEATURES: 1.49, **POOR}, "warning"),
    ("ED306", {FEATURES: 1.0, **POOR, WIDTH: 7}, {FEATURES: 0.0, **POOR, WIDTH: 8}, "warning"),
    ("ED306", {FEATURES: 1.0, **POOR, AUROC: (0.7, 0.80)}, {FEATURES: 1.0, **POOR, AUROC: (0.7, 0.79)}, "warning"),
    ("ED306", {FEATURES: 1.0, **POOR, AUROC: (0.3, 0.49)}, {FEATURES: 1.0, **POOR, AUROC: (0.3, 0.50)}, "warning"),
    ("ED307", {SMALL: 0.01, LARGE: 1, ZERO: 0}, {SMALL: 0.009, LARGE: 1, ZERO: 0}, "warning"),
    ("ED307", {}, {SMALL: 0, LARGE: 0.01, ZERO: 0.5}, "warning"),
    ("ED307", {}, {SMALL: 0, LARGE: 0.009, ZERO: 0.5}, "critical"),
    ("ED308", {LARGE: 30}, {LARGE: 31}, "warning"),
    ("ED308", {}, {LARGE: 1000}, "warning"),
    ("ED308", {}, {LARGE: 1001}, "critical"),
    ("ED309", {FRESH: 0.1, ENTRIES: 0.01}, {FRESH: 0.1, ENTRIES: 0.011}, "warning"),
    ("ED309", {}, {FRESH: 0.99, ENTRIES: 0.99}, "warning"),
    (
        "ED309",
        {FRESH: 0.5, ENTRIES: 0.5, **NARROW, "head.energy_spread": (0.005, 0.009)},
        {FRESH: 0.5, ENTRIES: 0.5, **NARROW, "head.energy_spread": (0.005, 0.010)},
        "warning",
    ),
    (
        "ED309",
        {FRESH: 0.5, ENTRIES: 0.5, **NARROW, "head.energy_mean": -101},
        {FRESH: 0.5, ENTRIES: 0.5, **NARROW, "head.energy_mean": -100},
        "warning",
    ),
    (
        "ED309",
        {FRESH: 0.5, ENTRIES: 0.5, **NARROW, "head.energy_mean": 1e3, AUROC: (0.60, 0.7)},
        {FRESH: 0.5, ENTRIES: 0.5, **NARROW, "head.energy_mean": 1e3, AUROC: (0.61, 0.7)},
        "warning",
    ),
    ("ED309", {}, {FRESH: 1.0, ENTRIES: 1.0, **NARROW, "head.energy_mean": 1e3}, "critical"),
    ("ED309", {}, {FRESH: 1.0, ENTRIES: 1.0}, "critical"),
    ("ED310", {MIDDLE: 0.60, LOSS: 3, CHANCE: 4}, {MIDDLE: 0.59, LOSS: 3, CHANCE: 4}, "warning"),
    ("ED310", {MIDDLE: 0.009, LOSS: 3, CHANCE: 4}, {MIDDLE: 0.01, LOSS: 3, CHANCE: 4}, "warning"),
    ("ED310", {MIDDLE: 0.3, LOSS: (1.3, 3), CHANCE: 4}, {MIDDLE: 0.3, LOSS: (1.4, 3), CHANCE: 4}, "warning"),
]
