"""Rules on training logs at their edges; see `first.py`."""

from __future__ import annotations

Values = dict[str, float | tuple[float, float]]

LAST, CHANCE, FLOOR = "run.objective.last", "run.objective.chance", "run.objective.floor"
SLOPE, OFF_CHANCE, OFF_FLOOR = "run.objective.slope_last_half", "run.chance_gap", "run.floor_gap"
NORM, LONGEST, USUAL, GROWTH = (
    *("run.gradient.norm.last", "run.gradient.norm.max"),
    *("run.gradient.norm.median", "run.gradient.growth"),
)
SHARE, NOISE, AMPLITUDE = "run.oscillation", "run.oscillation.noise", "run.oscillation.amplitude"
RISE, GAP, TRAINED = "run.validation_rise", "run.validation_gap", "run.loss.rise"

STUCK: Values = {LAST: 4.1, CHANCE: 4.16, SLOPE: 0.0}
FLAT: Values = {LAST: 2.5, CHANCE: 4.2, SLOPE: 0.0}
STILL: Values = {"run.loss.first": 4.0, "run.loss.last": 4.0, "run.loss.fall": 0.0}
RISES, FROM_START = "run.gradient.rises", "run.gradient.growth_from_start"
SUMMED: Values = {RISES: 0.9, FROM_START: 40.0, "run.loss.fall": 0.0}
QUIET: Values = {NORM: 1.0, LONGEST: 2.0, USUAL: 1.0}
BEGINS, PEAK_AT = "run.learning_rate.warmup", "run.learning_rate.peak_at"

FIRST, MOVED, ENDS = "run.objective.first", "run.objective.moved", "run.objective.constant_end"
ZEROS, LARGER, STILL_GROWS = "run.objective.zeros", "run.energy_size.growth", "run.energy_size.late_growth"
BEST = "run.validation_recall.best"
STANDS: Values = {LAST: 4.0, MOVED: 0.01, ENDS: 0.0, ZEROS: 0.0}
ODD: Values = {"run.impossible": 1}
UNRANKED: Values = {"run.loss.fall": 0.9, "run.validation_recall.first": 0.01, "run.validation_recall.last": 0.01}

EDGES: list[tuple[str, Values, Values, str]] = [
    ("ED701", {**STUCK, OFF_CHANCE: (0.01, 0.05)}, {**STUCK, OFF_CHANCE: (0.01, 0.049)}, "critical"),
    ("ED701", {**STUCK, OFF_CHANCE: 0.01, SLOPE: -0.21}, {**STUCK, OFF_CHANCE: 0.01, SLOPE: -0.20}, "critical"),
    ("ED701", {}, {**STUCK, OFF_CHANCE: (-0.3, -0.051)}, "warning"),
    ("ED701", {}, {**STUCK, OFF_CHANCE: (-0.3, -0.05)}, "critical"),
    (
        "ED702",
        {**FLAT, FLOOR: 1.25, OFF_FLOOR: 0.4},
        {**FLAT, FLOOR: 1.26, OFF_FLOOR: 0.4},
        "critical",
    ),
    (
        "ED702",
        {**FLAT, FLOOR: 2.2, OFF_FLOOR: (0.3, 0.5)},
        {**FLAT, FLOOR: 2.2, OFF_FLOOR: (0.3, 0.49)},
        "critical",
    ),
    (
        "ED702",
        {**FLAT, FLOOR: 2.2, OFF_FLOOR: 0.1, SLOPE: -0.26},
        {**FLAT, FLOOR: 2.2, OFF_FLOOR: 0.1, SLOPE: -0.25},
        "critical",
    ),
    (
        "ED703",
        {"run.nonfinite": 0, "run.nonfinite.at_end": 0},
        {"run.nonfinite": 1, "run.nonfinite.at_end": 0},
        "warning",
    ),
    ("ED703", {}, {"run.nonfinite": 1, "run.nonfinite.at_end": 1, "run.last_finite_step": 9}, "critical"),
    ("ED704", {SHARE: 0.25, NOISE: 0.1, AMPLITUDE: 0.1}, {SHARE: 0.26, NOISE: 0.1, AMPLITUDE: 0.1}, "warning"),
    ("ED704", {SHARE: 0.4, NOISE: 0.4, AMPLITUDE: 0.1}, {SHARE: 0.41, NOISE: 0.4, AMPLITUDE: 0.1}, "warning"),
    ("ED704", {SHARE: 0.9, NOISE: 0.4, AMPLITUDE: 0.05}, {SHARE: 0.9, NOISE: 0.4, AMPLITUDE: 0.06}, "warning"),
    ("ED705", {"run.energy_drift": (1.0, 3.0)}, {"run.energy_drift": (1.1, 3.0)}, "warning"),
    ("ED705", {"run.energy_drift": (-3.0, -1.0)}, {"run.energy_drift": (-3.0, -1.1)}, "warning"),
    (
        "ED705",
        {"run.energy_drift": 0, "run.energy_scale_growth": 10},
        {"run.energy_drift": 0, "run.energy_scale_growth": 10.1},
        "warning",
    ),
    ("ED706", {"run.gap.last": (-1.0, 0.0)}, {"run.gap.last": (-1.0, -0.01)}, "critical"),
    (
        "ED706",
        {"run.gap.last": -1, "run.auroc.last": (0.3, 0.5)},
        {"run.gap.last": -1, "run.auroc.last": (0.3, 0.49)},
        "critical",
    ),
    (
        "ED706",
        {"run.gap.last": 1, "run.gap.trend": (-0.4, -0.2)},
        {"run.gap.last": 1, "run.gap.trend": (-0.4, -0.21)},
        "warning",
    ),
    ("ED707", {**QUIET, NORM: 1e3, LONGEST: 1e3, USUAL: 1e3}, {**QUIET, NORM: 1001, USUAL: 1e3}, "critical"),
    ("ED707", {**QUIET, GROWTH: 100}, {**QUIET, GROWTH: 101}, "warning"),
    ("ED707", {**QUIET, LONGEST: 1e3}, {**QUIET, LONGEST: 1001}, "warning"),
    ("ED708", {RISE: (0.05, 0.2), GAP: 1, TRAINED: 0}, {RISE: (0.06, 0.2), GAP: 1, TRAINED: 0}, "warning"),
    ("ED708", {RISE: 0.2, GAP: (0.0, 1.0), TRAINED: 0}, {RISE: 0.2, GAP: (0.1, 1.0), TRAINED: 0}, "warning"),
    ("ED708", {RISE: 0.2, GAP: 1, TRAINED: (0.01, 0.1)}, {RISE: 0.2, GAP: 1, TRAINED: (-0.01, 0.1)}, "warning"),
    ("ED708", {}, {RISE: 0.2, GAP: 1, TRAINED: 0, "run.validation.chance_gap": (-0.2, -0.01)}, "critical"),
    (
        "ED709",
        {"run.update_ratio.median": 1e-5, "run.loss.fall": 0},
        {"run.update_ratio.median": 9e-6, "run.loss.fall": 0},
        "warning",
    ),
    (
        "ED709",
        {"run.update_ratio.median": 1e-6, "run.loss.fall": (0.0, 0.05)},
        {"run.update_ratio.median": 1e-6, "run.loss.fall": (0.0, 0.04)},
        "warning",
    ),
    (
        "ED709",
        {"run.update_ratio.median": 0, "run.loss.fall": 0},
        {"run.update_ratio.median": 1e-9, "run.loss.fall": 0},
        "warning",
    ),
    ("ED710", {TRAINED: (0.05, 0.2)}, {TRAINED: (0.06, 0.2)}, "warning"),
    ("ED710", {TRAINED: 0, "run.update_ratio.median": 0.1}, {TRAINED: 0, "run.update_ratio.median": 0.11}, "warning"),
    ("ED710", {}, {TRAINED: 0.1, "run.update_ratio.median": 0.11}, "critical"),
    (
        "ED710",
        {TRAINED: 0, "run.update_ratio.first": 0.30, "run.loss.fall": 0.0},
        {TRAINED: 0, "run.update_ratio.first": 0.31, "run.loss.fall": 0.0},
        "critical",
    ),
    (
        "ED710",
        {TRAINED: 0, "run.update_ratio.first": 1.0, "run.loss.fall": (0.20, 0.3)},
        {TRAINED: 0, "run.update_ratio.first": 1.0, "run.loss.fall": (0.19, 0.3)},
        "critical",
    ),
    (
        "ED708",
        {RISE: 0.0, GAP: 1, TRAINED: 0, "run.validation.chance_gap": -0.1, OFF_CHANCE: (0.5, 0.7)},
        {RISE: 0.0, GAP: 1, TRAINED: 0, "run.validation.chance_gap": -0.1, OFF_CHANCE: (0.51, 0.7)},
        "critical",
    ),
    (
        "ED719",
        {LAST: 4.1, OFF_CHANCE: 0.01, "auroc.swap": (0.55, 0.7)},
        {LAST: 4.1, OFF_CHANCE: 0.01, "auroc.swap": (0.56, 0.7)},
        "critical",
    ),
    (
        "ED719",
        {LAST: 4.1, OFF_CHANCE: (0.01, 0.05), "auroc.swap": 0.8},
        {LAST: 4.1, OFF_CHANCE: (0.01, 0.049), "auroc.swap": 0.8},
        "critical",
    ),
    ("ED718", {"run.objective.first": 12.0, CHANCE: 4.0}, {"run.objective.first": 12.1, CHANCE: 4.0}, "warning"),
    ("ED711", {**STILL, NORM: 1e-9}, {**STILL, NORM: 0}, "critical"),
    ("ED711", {**STILL, "run.update_ratio.median": 1e-9}, {**STILL, "run.update_ratio.median": 0}, "critical"),
    ("ED711", {**STILL, "run.learning_rate.peak": 1e-9}, {**STILL, "run.learning_rate.peak": 0}, "critical"),
    ("ED711", {**STILL, "run.loss.last": 0.04, NORM: 0}, {**STILL, "run.loss.last": 0.041, NORM: 0}, "critical"),
    (
        "ED711",
        {**STILL, "run.weight_norm.change": 0, "run.loss.fall": (0.05, 0.1)},
        {**STILL, "run.weight_norm.change": 0, "run.loss.fall": (0.04, 0.1)},
        "critical",
    ),
    ("ED711", {**STILL, "run.loss.repeat": 0.5}, {**STILL, "run.loss.repeat": 0.51}, "critical"),
    ("ED712", {"run.points": 20}, {"run.points": 19}, "warning"),
    (
        "ED713",
        {"run.clipping_share": (0.95, 1.0), "run.clipping_factor": 100},
        {"run.clipping_share": (0.96, 1.0), "run.clipping_factor": 100},
        "warning",
    ),
    (
        "ED713",
        {"run.clipping_share": 1, "run.clipping_factor": 99},
        {"run.clipping_share": 1, "run.clipping_factor": 100},
        "warning",
    ),
    (
        "ED714",
        {OFF_CHANCE: (0.8, 0.9), "run.validation.chance_gap": 0},
        {OFF_CHANCE: (0.81, 0.9), "run.validation.chance_gap": 0},
        "critical",
    ),
    (
        "ED714",
        {OFF_CHANCE: 0.9, "run.validation.chance_gap": (0.0, 0.05)},
        {OFF_CHANCE: 0.9, "run.validation.chance_gap": (0.0, 0.04)},
        "critical",
    ),
    ("ED715", {"run.spikes": 1, "run.spikes.height": 1}, {"run.spikes": 2, "run.spikes.height": 1}, "warning"),
    ("ED715", {"run.spikes": 2, "run.spikes.height": 0.5}, {"run.spikes": 2, "run.spikes.height": 0.51}, "warning"),
    (
        "ED720",
        {BEGINS: 0.5, PEAK_AT: 0.0, "run.loss.early_rise": 2.0},
        {BEGINS: 0.5, PEAK_AT: 0.0, "run.loss.early_rise": 2.01},
        "warning",
    ),
    (
        "ED720",
        {BEGINS: 0.49, PEAK_AT: 0.0, "run.loss.early_rise": 3.0},
        {BEGINS: 1.0, PEAK_AT: 0.0, "run.loss.early_rise": 3.0},
        "warning",
    ),
    ("ED720", {BEGINS: 0.1, PEAK_AT: 0.9}, {BEGINS: 0.1, PEAK_AT: 0.91}, "warning"),
    ("ED720", {BEGINS: 0.5, PEAK_AT: 1.0}, {BEGINS: 0.49, PEAK_AT: 1.0}, "warning"),
    ("ED716", {"run.weight_norm.last": 0.52}, {"run.weight_norm.last": 0.51}, "warning"),
    (
        "ED716",
        {"run.weight_norm.last": 0.1, USUAL: 9e-6},
        {"run.weight_norm.last": 0.1, USUAL: 1e-5},
        "warning",
    ),
    ("ED717", {**SUMMED, RISES: 0.75}, {**SUMMED, RISES: 0.76}, "critical"),
    ("ED717", {**SUMMED, FROM_START: 10}, {**SUMMED, FROM_START: 10.1}, "critical"),
    ("ED717", {**SUMMED, "run.loss.fall": (0.20, 0.3)}, {**SUMMED, "run.loss.fall": (0.19, 0.3)}, "critical"),
    ("ED721", {**STANDS, ZEROS: 0.99, MOVED: 0.5}, {**STANDS, ZEROS: 1.0, MOVED: 0.5}, "critical"),
    ("ED721", {**STANDS, FIRST: 4.0, MOVED: 0.05}, {**STANDS, FIRST: 4.0, MOVED: 0.049}, "critical"),
    ("ED721", {**STANDS, MOVED: 0.5, ENDS: 0.49}, {**STANDS, MOVED: 0.5, ENDS: 0.5}, "critical"),
    ("ED721", {**STANDS, FIRST: 12.1, ENDS: 0.9}, {**STANDS, FIRST: 11.9, ENDS: 0.9}, "critical"),
    (
        "ED721",
        {**STANDS, FIRST: 4.0, "run.top1.last": 0.51, "run.top1.chance": 0.0},
        {**STANDS, FIRST: 4.0, "run.top1.last": 0.5, "run.top1.chance": 0.0},
        "critical",
    ),
    ("ED722", {**ODD, "run.top1.max": 1.0}, {**ODD, "run.top1.max": 1.01}, "critical"),
    ("ED722", {**ODD, "run.objective.below_zero": 0.0}, {**ODD, "run.objective.below_zero": 0.1}, "critical"),
    (
        "ED723",
        {"run.loss.fall": 0.29, "run.top1.last": 0.51, "run.top1.chance": 0.5},
        {"run.loss.fall": 0.3, "run.top1.last": 0.51, "run.top1.chance": 0.5},
        "critical",
    ),
    (
        "ED723",
        {"run.loss.fall": 0.9, "run.top1.last": (0.5, 0.53), "run.top1.chance": 0.5},
        {"run.loss.fall": 0.9, "run.top1.last": (0.5, 0.52), "run.top1.chance": 0.5},
        "critical",
    ),
    ("ED723", {**UNRANKED, BEST: 0.04}, {**UNRANKED, BEST: 0.03}, "critical"),
    ("ED724", {LAST: 3.9, "run.top1.last": (0.5, 0.6)}, {LAST: 3.9, "run.top1.last": (0.51, 0.6)}, "warning"),
    ("ED724", {LAST: 2.3, "run.top1.last": 1.0}, {LAST: 2.31, "run.top1.last": 1.0}, "warning"),
    ("ED725", {LARGER: 1e4, STILL_GROWS: 2.0}, {LARGER: 1.1e4, STILL_GROWS: 2.0}, "critical"),
    ("ED725", {LARGER: 1e6, STILL_GROWS: 1.2}, {LARGER: 1e6, STILL_GROWS: 1.3}, "critical"),
]
