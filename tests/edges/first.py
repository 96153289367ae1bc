"""Rules at their edges: code, values just short of the threshold, values just beyond, severity beyond.

A pair of numbers is a 95 % interval, whose middle is the value. Empty values short of the threshold are not tried.
"""

from __future__ import annotations

Values = dict[str, float | tuple[float, float]]

NORM, RATIO = "gradient.parameters.norm", "gradient.parameters.first_last_ratio"
OVERFLOWN, NO_SLOPE = "gradient.parameters.nonfinite", "gradient.actions.nonfinite_fraction"
FLAT: Values = {"gradient.actions.relative_away": 0.0, "gradient.actions.norm_median": 1}
STEEP: Values = {**FLAT, "gradient.actions.relative_median": 0.0, "gradient.actions.relative_away": 1.0}
UNFITTED: Values = {"gradient.parameters.loss": 1.0, "loss.swap.chance": 4.0}

EDGES: list[tuple[str, Values, Values, str]] = [
    ("ED101", {"head.slope_saturated_fraction": 0.10}, {"head.slope_saturated_fraction": 0.11}, "warning"),
    (
        "ED101",
        {"head.slope_saturated_fraction": (0.10, 0.3)},
        {"head.slope_saturated_fraction": (0.11, 0.3)},
        "warning",
    ),
    ("ED101", {}, {"head.slope_saturated_fraction": (0.51, 0.6)}, "critical"),
    ("ED101", {}, {"head.slope_saturated_fraction": (0.49, 0.6)}, "warning"),
    ("ED102", {"head.zero_slope_fraction": 0.01}, {"head.zero_slope_fraction": 0.011}, "warning"),
    ("ED102", {}, {"head.zero_slope_fraction": 0.51}, "critical"),
    ("ED102", {}, {"head.zero_slope_fraction": 0.0, "head.dead_slope_fraction": 0.51}, "critical"),
    (
        "ED103",
        {"loss.swap": 2.5, "loss.swap.floor": 1.25, "loss.swap.chance": 4.2, "floor_gap.swap": 0.4},
        {"loss.swap": 2.5, "loss.swap.floor": 1.26, "loss.swap.chance": 4.2, "floor_gap.swap": 0.4},
        "critical",
    ),
    (
        "ED103",
        {"loss.swap": 2.5, "loss.swap.floor": 2.2, "loss.swap.chance": 4.2, "floor_gap.swap": (0.3, 0.51)},
        {"loss.swap": 2.5, "loss.swap.floor": 2.2, "loss.swap.chance": 4.2, "floor_gap.swap": (0.3, 0.49)},
        "critical",
    ),
    ("ED104", {"head.nonfinite_fraction": 0.0}, {"head.nonfinite_fraction": 1e-5}, "critical"),
    (
        "ED104",
        {"head.nonfinite_fraction": 0.0, "head.nonfinite_nearby": 0.0},
        {"head.nonfinite_fraction": 0.0, "head.nonfinite_nearby": 1e-3},
        "warning",
    ),
    ("ED201", {"auroc.swap": 0.80}, {"auroc.swap": 0.79}, "warning"),
    ("ED201", {"auroc.swap": (0.7, 0.81)}, {"auroc.swap": (0.7, 0.79)}, "warning"),
    ("ED201", {"auroc.swap": (0.3, 0.49)}, {"auroc.swap": (0.45, 0.55)}, "critical"),
    (
        "ED201",
        {"auroc.swap": 0.4, "gap_std.swap": (-0.7, -0.51)},
        {"auroc.swap": 0.4, "gap_std.swap": (-0.7, -0.50)},
        "critical",
    ),
    (
        "ED202",
        {"auroc.swap": 0.4, "gap_std.swap": (-0.7, -0.50)},
        {"auroc.swap": 0.4, "gap_std.swap": (-0.7, -0.51)},
        "critical",
    ),
    (
        "ED202",
        {"auroc.swap": (0.1, 0.40), "gap_std.swap": (-0.3, -0.2)},
        {"auroc.swap": (0.1, 0.39), "gap_std.swap": (-0.3, -0.2)},
        "critical",
    ),
    (
        "ED202",
        {"auroc.swap": (0.1, 0.39), "gap_std.swap": (-0.3, -0.1)},
        {"auroc.swap": (0.1, 0.39), "gap_std.swap": (-0.3, -0.11)},
        "critical",
    ),
    (
        "ED202",
        {"auroc.swap": (0.3, 0.50), "gap_std.swap": -1},
        {"auroc.swap": (0.3, 0.49), "gap_std.swap": -1},
        "critical",
    ),
    ("ED203", {"auroc.policy": (0.51, 0.6)}, {"auroc.policy": (0.50, 0.6)}, "warning"),
    ("ED203", {}, {"auroc.policy": (0.4, 0.49)}, "critical"),
    ("ED301", {NORM: 1e-6, **UNFITTED}, {NORM: 9e-7, **UNFITTED}, "critical"),
    (
        "ED301",
        {NORM: 0.0, "gradient.parameters.loss": 0.039, "loss.swap.chance": 4.0},
        {NORM: 0.0, "gradient.parameters.loss": 0.040, "loss.swap.chance": 4.0},
        "critical",
    ),
    ("ED311", {RATIO: 1e-3}, {RATIO: 9e-4}, "warning"),
    ("ED302", {NORM: 1e3, OVERFLOWN: 0}, {NORM: 1001, OVERFLOWN: 0}, "critical"),
    ("ED302", {NORM: 1, OVERFLOWN: 0, RATIO: 1e3}, {NORM: 1, OVERFLOWN: 0, RATIO: 1001}, "warning"),
    ("ED302", {OVERFLOWN: 0}, {OVERFLOWN: 1}, "critical"),
    ("ED302", {OVERFLOWN: 0, NO_SLOPE: 0.0}, {OVERFLOWN: 0, NO_SLOPE: 0.001}, "critical"),
    (
        "ED303",
        {"gradient.actions.relative_median": (0.0, 0.010), **FLAT},
        {"gradient.actions.relative_median": (0.0, 0.009), **FLAT},
        "critical",
    ),
    (
        "ED303",
        {"gradient.actions.relative_median": 0.0, **FLAT, "gradient.actions.relative_away": (0.0, 0.010)},
        {"gradient.actions.relative_median": 0.0, **FLAT, "gradient.actions.relative_away": (0.0, 0.009)},
        "critical",
    ),
    (
        "ED303",
        {**STEEP, "field.alignment.policy": (0.21, 0.5), "data.policy_error": 0.1},
        {**STEEP, "field.alignment.policy": (0.20, 0.5), "data.policy_error": 0.1},
        "critical",
    ),
    (
        "ED303",
        {**STEEP, "field.alignment.policy": (0.0, 0.1), "data.policy_error": 0.0},
        {**STEEP, "field.alignment.policy": (0.0, 0.1), "data.policy_error": 1e-3},
        "critical",
    ),
    (
        "ED304",
        {"gradient.actions.share_max": (0.42, 0.6), "data.action_dimensions": 7},
        {"gradient.actions.share_max": (0.43, 0.6), "data.action_dimensions": 7},
        "warning",
    ),
    (
        "ED304",
        {"gradient.actions.share_max": 1.0, "data.action_dimensions": 3},
        {"gradient.actions.share_max": 0.76, "data.action_dimensions": 4},
        "warning",
    ),
    ("ED601", {"data.nonfinite_fraction": 0.0}, {"data.nonfinite_fraction": 0.01}, "critical"),
    ("ED602", {"data.all_padded_fraction": 0.0}, {"data.all_padded_fraction": 0.01}, "warning"),
]
