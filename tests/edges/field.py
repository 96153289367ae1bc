"""Edges of the rules on the energy's field; see `first.py` for how to read them."""

from __future__ import annotations

Values = dict[str, float | tuple[float, float]]

RANKS: Values = {"auroc.swap": 0.9}
K4, K8 = "field.correction_gain.k4", "field.correction_gain.k8"
ALIGNED, RANDOM, LIVE = "field.alignment.policy", "field.alignment.chance_std", "gradient.actions.relative_median"
TRUST, FALLS, ORDER = "field.trust_ratio", "field.monotonicity_violations", "field.spearman"
SMOOTH: Values = {TRUST: 0.9, FALLS: 0.1, ORDER: 0.9, **RANKS}

EDGES: list[tuple[str, Values, Values, str]] = [
    ("ED401", {K4: 0.1, K8: (-0.2, 0.0), **RANKS}, {K4: 0.1, K8: (-0.2, -0.01), **RANKS}, "critical"),
    ("ED401", {K4: (-0.2, 0.0), K8: 0.1, **RANKS}, {K4: (-0.2, -0.01), K8: 0.1, **RANKS}, "critical"),
    (
        "ED401",
        {K4: -0.1, K8: -0.2, "auroc.swap": (0.80, 0.9)},
        {K4: -0.1, K8: -0.2, "auroc.swap": (0.81, 0.9)},
        "critical",
    ),
    (
        "ED402",
        {ALIGNED: (0.0, 0.18), RANDOM: 0.177, LIVE: 0.1},
        {ALIGNED: (0.0, 0.17), RANDOM: 0.177, LIVE: 0.1},
        "warning",
    ),
    (
        "ED402",
        {ALIGNED: 0.05, RANDOM: 0.177, LIVE: (0.009, 0.1)},
        {ALIGNED: 0.05, RANDOM: 0.177, LIVE: (0.010, 0.1)},
        "warning",
    ),
    ("ED402", {}, {ALIGNED: (-0.2, 0.01), RANDOM: 0.177, LIVE: 0.1}, "warning"),
    ("ED402", {}, {ALIGNED: (-0.2, -0.01), RANDOM: 0.177, LIVE: 0.1}, "critical"),
    (
        "ED403",
        {**SMOOTH, TRUST: (0.1, 0.60), FALLS: 0.3},
        {**SMOOTH, TRUST: (0.1, 0.59), FALLS: 0.3},
        "warning",
    ),
    ("ED403", {**SMOOTH, TRUST: (3.0, 5.0), FALLS: 0.3}, {**SMOOTH, TRUST: (3.1, 5.0), FALLS: 0.3}, "warning"),
    (
        "ED403",
        {**SMOOTH, TRUST: 0.1, FALLS: (0.15, 0.3)},
        {**SMOOTH, TRUST: 0.1, FALLS: (0.16, 0.3)},
        "warning",
    ),
    (
        "ED403",
        {**SMOOTH, TRUST: 0.1, ORDER: (0.5, 0.70)},
        {**SMOOTH, TRUST: 0.1, ORDER: (0.5, 0.69)},
        "warning",
    ),
    (
        "ED403",
        {TRUST: 0.1, FALLS: 0.3, ORDER: 0.5, "auroc.swap": (0.80, 0.9)},
        {TRUST: 0.1, FALLS: 0.3, ORDER: 0.5, "auroc.swap": (0.81, 0.9)},
        "warning",
    ),
]
