"""Edges of the rules on the dump; see `first.py` for how to read them."""

from __future__ import annotations

Values = dict[str, float | tuple[float, float]]

NEAR, COPIES, CONTEXTS = (f"data.{name}" for name in ("false_negative_rate", "duplicate_rate", "duplicate_contexts"))
CONSTANT: Values = {"data.action_dimensions": 7.0}
RMS, RATIO = "data.context_rms", "data.context_scale_ratio"
MOVED, LAG = "data.chunk_misalignment", "data.chunk_lag"
LATE: Values = {MOVED: 0.1, LAG: 0.9, f"{LAG}.between": 0.0}

EDGES: list[tuple[str, Values, Values, str]] = [
    ("ED603", {NEAR: (0.050, 0.1)}, {NEAR: (0.051, 0.1)}, "warning"),
    ("ED604", {COPIES: (0.010, 0.1), CONTEXTS: 0.0}, {COPIES: (0.011, 0.1), CONTEXTS: 0.0}, "warning"),
    ("ED604", {COPIES: 0.0, CONTEXTS: (0.10, 0.3)}, {COPIES: 0.0, CONTEXTS: (0.11, 0.3)}, "warning"),
    ("ED605", {"data.constant_dimensions": 0.0, **CONSTANT}, {"data.constant_dimensions": 1.0, **CONSTANT}, "warning"),
    (
        "ED606",
        {"data.dimension_scale_ratio": (10.0, 12.0)},
        {"data.dimension_scale_ratio": (10.1, 12.0)},
        "warning",
    ),
    ("ED607", {RMS: (300.0, 400.0)}, {RMS: (301.0, 400.0)}, "warning"),
    ("ED607", {RMS: 1.0, RATIO: 300.0}, {RMS: 1.0, RATIO: 301.0}, "warning"),
    (
        "ED607",
        {RMS: 1.0, RATIO: 1e3, "auroc.swap": (0.951, 0.97)},
        {RMS: 1.0, RATIO: 1e3, "auroc.swap": (0.950, 0.97)},
        "warning",
    ),
    (
        "ED607",
        {RMS: 1.0, RATIO: 1e3, "auroc.swap": 0.97, "field.correction_gain.k8": (-0.1, 0.0)},
        {RMS: 1.0, RATIO: 1e3, "auroc.swap": 0.97, "field.correction_gain.k8": (-0.1, -0.01)},
        "warning",
    ),
    (
        "ED607",
        {RMS: 1.0, RATIO: 1e3, "auroc.swap": 0.97, "run.objective.first": 12.0, "run.objective.chance": 4.0},
        {RMS: 1.0, RATIO: 1e3, "auroc.swap": 0.97, "run.objective.first": 12.1, "run.objective.chance": 4.0},
        "warning",
    ),
    ("ED608", {**LATE, MOVED: (0.010, 0.1)}, {**LATE, MOVED: (0.011, 0.1)}, "warning"),
    ("ED608", {**LATE, LAG: (0.25, 0.9)}, {**LATE, LAG: (0.26, 0.9)}, "warning"),
    ("ED608", {**LATE, f"{LAG}.between": 0.21}, {**LATE, f"{LAG}.between": 0.20}, "warning"),
    (
        "ED608",
        {**LATE, f"{MOVED}.late": -0.1, f"{MOVED}.early": 0.1},
        {**LATE, LAG: (-0.9, -0.26), f"{MOVED}.late": -0.1, f"{MOVED}.early": 0.1},
        "warning",
    ),
    ("ED609", {"data.repeated_actions": (0.02, 0.1)}, {"data.repeated_actions": (0.021, 0.1)}, "warning"),
]
