"""Edges of the rules on what the energy listens to; see `first.py` for how to read them."""

from __future__ import annotations

Values = dict[str, float | tuple[float, float]]

CONTEXT, INTERACTION, ACTION = (f"conditioning.{name}" for name in ("context_use", "interaction", "action_use"))
SCALE, SHIFT = (f"conditioning.blind.{name}.against_noise" for name in ("scale", "shift"))
PAD, INVERTED, GAIN = (f"conditioning.{name}" for name in ("pad_effect", "inverted_mask", "turned_mask.auroc_gain"))
MODE, REPEAT, DROP = (f"conditioning.{name}" for name in ("train_eval_shift", "repeat_shift", "bf16_auroc_drop"))
SAME: Values = {"head.energy_spread": 1e-3, "head.energy_mean": 0.0, "head.energy_std": 5e-4}
COUPLED = "conditioning.batch_dependence"
ZERO, SLOPE = "gradient.context.zero_fraction", "gradient.actions.relative_median"
PADDED: Values = {"data.padding_fraction": 0.1}

EDGES: list[tuple[str, Values, Values, str]] = [
    ("ED501", {CONTEXT: (0.0, 0.010), INTERACTION: 1.0}, {CONTEXT: (0.0, 0.009), INTERACTION: 1.0}, "critical"),
    ("ED501", {CONTEXT: 1.0, INTERACTION: (0.0, 0.05)}, {CONTEXT: 1.0, INTERACTION: (0.0, 0.049)}, "critical"),
    (
        "ED501",
        {CONTEXT: 0.0, INTERACTION: 0.0, "auroc.swap": (0.61, 0.7)},
        {CONTEXT: 0.0, INTERACTION: 0.0, "auroc.swap": (0.60, 0.7)},
        "critical",
    ),
    ("ED502", {ACTION: (0.0, 0.010)}, {ACTION: (0.0, 0.009)}, "critical"),
    ("ED502", {ACTION: 0.0, "auroc.swap": (0.61, 0.7)}, {ACTION: 0.0, "auroc.swap": (0.60, 0.7)}, "critical"),
    ("ED503", {SCALE: (0.0, 0.02), SHIFT: 1.0}, {SCALE: (0.0, 0.019), SHIFT: 1.0}, "warning"),
    ("ED503", {SCALE: 1.0, SHIFT: (0.0, 0.02)}, {SCALE: 1.0, SHIFT: (0.0, 0.019)}, "warning"),
    ("ED503", {}, {SCALE: 0.0, SHIFT: 0.0, "auroc.amplitude_1.5": 0.5}, "warning"),
    ("ED504", {PAD: (0.010, 0.1)}, {PAD: (0.011, 0.1)}, "warning"),
    ("ED504", {}, {PAD: 1.0, INVERTED: (0.95, 1.0)}, "warning"),
    ("ED504", {}, {PAD: 1.0, INVERTED: (0.96, 1.0)}, "critical"),
    ("ED504", {}, {PAD: 1.0, INVERTED: 1.0, "auroc.swap": (0.80, 0.9)}, "critical"),
    ("ED504", {}, {PAD: 1.0, INVERTED: 1.0, "auroc.swap": (0.81, 0.9)}, "warning"),
    ("ED505", {GAIN: (0.05, 0.4), **PADDED}, {GAIN: (0.06, 0.4), **PADDED}, "critical"),
    (
        "ED505",
        {GAIN: (0.01, 0.3), "auroc.swap": 0.6, **PADDED},
        {GAIN: (0.01, 0.52), "auroc.swap": 0.6, **PADDED},
        "critical",
    ),
    (
        "ED505",
        {GAIN: (0.0, 0.8), "auroc.swap": 0.6, **PADDED},
        {GAIN: (0.01, 0.8), "auroc.swap": 0.6, **PADDED},
        "critical",
    ),
    ("ED505", {INVERTED: 1.0, GAIN: (-0.1, 0.2), **PADDED}, {INVERTED: 1.0, GAIN: (0.01, 0.02), **PADDED}, "critical"),
    (
        "ED505",
        {INVERTED: (0.95, 1.0), GAIN: (0.01, 0.02), **PADDED},
        {INVERTED: (0.96, 1.0), GAIN: (0.01, 0.02), **PADDED},
        "critical",
    ),
    ("ED505", {}, {INVERTED: 1.0, GAIN: 0.1, "auroc.swap": (0.81, 0.9), **PADDED}, "warning"),
    ("ED505", {}, {INVERTED: 1.0, GAIN: 0.1, "auroc.swap": (0.80, 0.9), **PADDED}, "critical"),
    ("ED506", {MODE: (0.35, 2.0)}, {MODE: (0.36, 2.0)}, "warning"),
    ("ED506", {MODE: (0.75, 2.0), "model.dropout": 0.1}, {MODE: (0.76, 2.0), "model.dropout": 0.1}, "warning"),
    ("ED506", {MODE: 2.0, **SAME, "auroc.swap": 0.5}, {MODE: 2.0, **SAME, "auroc.swap": 0.7}, "warning"),
    ("ED507", {REPEAT: (0.0010, 0.1)}, {REPEAT: (0.0011, 0.1)}, "warning"),
    ("ED507", {}, {REPEAT: (1.0, 1.2)}, "warning"),
    ("ED507", {}, {REPEAT: (1.1, 1.2)}, "critical"),
    ("ED509", {ZERO: (0.99, 1.0), SLOPE: 1.0}, {ZERO: (1.0, 1.0), SLOPE: 1.0}, "critical"),
    ("ED509", {ZERO: 1.0, SLOPE: 9e-7}, {ZERO: 1.0, SLOPE: 1e-6}, "critical"),
    ("ED511", {COUPLED: (0.010, 0.3)}, {COUPLED: (0.011, 0.3)}, "warning"),
    ("ED511", {}, {COUPLED: (0.09, 0.3)}, "warning"),
    ("ED511", {}, {COUPLED: (0.11, 0.3)}, "critical"),
    ("ED510", {"model.dropout": 0.5}, {"model.dropout": 0.51}, "warning"),
    ("ED508", {DROP: (0.010, 0.1)}, {DROP: (0.011, 0.1)}, "warning"),
]
