"""What each number means: its unit, its direction, how large a change matters, where it is shown, what is healthy.

Probes and training logs measure under these names, rules read them, and everything else asks here. A name that begins
with another one and a dot belongs to that one's family: ``auroc.swap`` to ``auroc``. What a metric does not say of how
it is compared (unit, direction, smallest change, what has to be equal) it has from its family.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

Better = Literal["higher", "lower", "none"]

Role = Literal["key", "compared", "proof", "proof-without-policy", "arm-scaled", "arm"]
"""Where a metric stands: among the key numbers of a diagnosis, among what ``compare checkpoints`` compares, among what
a repair is judged on (with, and in place of, the policy's actions), in the tables of a repair's arms (on the energy's
own scale; scale-free)."""

HEAD, TAU, NEGATIVES, OBJECTIVE, SAMPLING = "head", "τ", "negatives", "objective", "sampling of negatives"
"""What has to be equal on both sides for a number to mean the same."""

EITHER = " or "
"""Between several values of which it is one, and it is not known which."""

AXIS = "the log's axis"
"""What the steps of a log count; where it differs, no step of one run is a step of the other."""


@dataclass(frozen=True)
class Tile:
    """How a metric stands on top of a page.

    Attributes:
        order: Among the others.
        title: In words.
        hint: What is good.
    """

    order: int
    title: str
    hint: str


@dataclass(frozen=True)
class Metric:
    """One metric, or a family of them.

    Attributes:
        name: Its own.
        meaning: What it is, in few words.
        unit: ``"1"`` for ratios; ``"energy"`` and ``"raw"`` are the head's own scales.
        healthy: What would be healthy, in words.
        better: Which direction is good; ``"none"`` where neither is.
        min_effect: The smallest change that matters (heuristics), in the unit or as a share.
        relative: Whether it (and `seeds`) is a share of the value's size; of two sides, of their mean size.
        bound_to: What has to be equal on both sides for two values to mean the same.
        roles: Where it stands.
        label: On charts.
        chance: What a head that has learnt nothing has.
        within: Ends of the scale that it is drawn on.
        tile: How it stands on top of a page.
        sweep: Place among the columns of many checkpoints, the last ones the least, and title in two lines.
        seeds: For series of logs: standard deviation between runs that differ by nothing but their seed, measured by
            ``benchmarks/seeds.py`` over 12 healthy configurations of the fault benchmark, 6 seeds each, at the end of
            the run; the 80th percentile over configurations; series that were not logged there have a like one's.
    """

    name: str
    meaning: str
    unit: str | None = None
    healthy: str = ""
    better: Better | None = None
    min_effect: float | None = None
    relative: bool | None = None
    bound_to: tuple[str, ...] | None = None
    roles: tuple[Role, ...] = ()
    label: str = ""
    chance: float | None = None
    within: tuple[float, float] | None = None
    tile: Tile | None = None
    sweep: tuple[int, str, str] | None = None
    seeds: float = 0.0

    def scaled(self, number: float, beside: float) -> float:
        """``min_effect`` or ``seeds`` in the metric's unit, beside this value of it."""
        return number * abs(beside) if self.relative else number


@dataclass(frozen=True)
class Group:
    """Metrics that are shown together.

    Attributes:
        title: What the group is called.
        about: What its numbers are.
        families: The first part of their names.
    """

    title: str
    about: str
    families: tuple[str, ...]


AUROC, TOP1, AUROC_POLICY, GAP, GAP_STD = "auroc.swap", "top1.swap", "auroc.policy", "gap.swap", "gap_std.swap"
SATURATED, ENERGY_RANGE = "head.slope_saturated_fraction", "head.energy_range"
ALIGNMENT, ALIGNMENT_POLICY = "field.alignment", "field.alignment.policy"
GAIN, GAIN_1, GAIN_4, GAIN_8 = "field.correction_gain", *(f"field.correction_gain.k{k}" for k in (1, 4, 8))
ACTION_GRADIENT, ACTION_SLOPE = "gradient.actions.norm_median", "gradient.actions.relative_median"
ACTION_SHARES, PARAMETER_GRADIENTS = "gradient.actions.share", "gradient.parameters.module"
TURNED_MASK_GAIN = "conditioning.turned_mask.auroc_gain"

_SHARE = (0.0, 1.0)

METRICS: tuple[Metric, ...] = (
    # the data
    Metric("data", "what can be said of the batch alone", "1"),
    Metric(
        "data.policy_error",
        "mean absolute difference between the policy's action and the expert's",
        "action",
        roles=("key",),
        tile=Tile(14, "Policy's error", "distance to the expert, standardised"),
    ),
    Metric(
        "data.false_negative_rate",
        "share of other samples' actions that are nearer to the expert's than the policy's is",
        healthy="< 5 %",
        roles=("key",),
        within=_SHARE,
        tile=Tile(15, "False negatives", "share: 0 is right"),
    ),
    Metric(
        "data.duplicate_rate",
        "share of samples that repeat an earlier one",
        healthy="0",
        roles=("key",),
        within=_SHARE,
        tile=Tile(16, "Duplicates", "share: 0 is right"),
    ),
    Metric("data.repeated_actions", "share of other contexts' actions that are the same, bit for bit", healthy="0"),
    Metric("data.distinct_actions", "how many different actions there are", "count"),
    Metric("data.duplicate_contexts", "share of contexts that repeat an earlier one", healthy="0"),
    Metric(
        "data.padding_fraction",
        "share of context tokens that are hidden",
        roles=("key",),
        within=_SHARE,
        tile=Tile(17, "Padding", "share of the context"),
    ),
    Metric(
        "data.dimension_scale_ratio",
        "largest standard deviation of an action dimension over the median one",
        healthy="< 10",
        roles=("key",),
        tile=Tile(18, "Scale of dimensions", "widest over narrowest: 1 is even"),
    ),
    Metric(
        "data.context_scale_ratio",
        "largest standard deviation of a context dimension over the median one",
        healthy="< 300",
        roles=("key",),
    ),
    Metric("data.context_rms", "root mean square of the visible context", "context", "about 1"),
    Metric(
        "data.chunk_misalignment",
        "how much nearer the policy comes to the expert's chunk when that is moved by a step",
        healthy="below 0",
        roles=("key",),
    ),
    Metric("data.chunk_lag", "steps by which the expert's chunk lags behind the policy's", "step", "about 0"),
    Metric("data.chunk_lag.between", "weight of the step between, less that beyond", "1"),
    Metric("data.chunk_overlap_error", "disagreement of overlapping chunks, over the spread of actions"),
    Metric("data.constant_dimensions", "action dimensions that do not vary", "count", "0"),
    Metric("data.nonfinite_fraction", "share of samples with NaN or infinite values", healthy="0"),
    Metric("data.all_padded_fraction", "share of samples whose whole context is hidden", healthy="0"),
    Metric("data.samples", "samples in the dump", "count"),
    Metric("data.episodes", "episodes in the dump", "count"),
    Metric("data.steps", "steps of an action chunk", "count"),
    Metric("data.action_dimensions", "dimensions of an action", "count"),
    Metric("data.context_tokens", "tokens of a context", "count"),
    # the head
    Metric("head", "where raw values lie under the activation that makes the energy", "1"),
    Metric(
        "head.slope_saturated_fraction",
        "share of raw values where the activation has less than a tenth of its steepest slope",
        healthy="< 10 %",
        better="lower",
        min_effect=0.02,
        roles=("key", "compared", "arm-scaled"),
        label="slope-saturated",
        within=_SHARE,
        tile=Tile(3, "Saturated head", "share of raw values: 0 is right"),
        sweep=(4, "satu-", "rated"),
    ),
    Metric(
        "head.zero_slope_fraction",
        "share of raw values where the activation's slope is exactly 0",
        healthy="0",
        better="lower",
        min_effect=0.01,
        roles=("key", "compared"),
    ),
    Metric("head.dead_slope_fraction", "share of raw values whose slope rounds to nothing", healthy="0"),
    Metric("head.range_use", "share of a bounded head's range that its energies use", roles=("key",)),
    Metric("head.energy_mean", "mean energy", "energy"),
    Metric("head.rounding", "rounding step at the energies' level, in spreads", healthy="< 5 %"),
    Metric("head.energy_std", "standard deviation of the energies", "energy"),
    Metric("head.energy_range", "range of a bounded head", "energy"),
    Metric("head.energy_spread", "spread of the energies over τ", "nat", "< 100 nat"),
    Metric("head.nonfinite_fraction", "share of energies that are NaN or infinite", healthy="0"),
    Metric("head.nonfinite_samples", "samples that have such energies", "count", healthy="0"),
    Metric("head.nonfinite_nearby", "share of samples with such energies beside the expert's action", healthy="0"),
    *(Metric(f"head.raw_q{q:02}", f"{q} % quantile of the raw values", "raw") for q in (1, 5, 25, 50, 75, 95, 99)),
    # loss and floor
    Metric("loss", "contrastive loss", "nat", bound_to=(HEAD, TAU)),
    Metric(
        "loss.swap",
        "InfoNCE against other contexts' actions",
        healthy="far below chance",
        better="lower",
        min_effect=0.02,
        relative=True,
        roles=("key", "compared"),
    ),
    Metric(
        "loss.swap.floor",
        "the least that this head can reach",
        healthy="far below the loss",
        better="none",
        roles=("key",),
    ),
    Metric("loss.swap.chance", "InfoNCE of a head that cannot tell", better="none"),
    Metric("floor_gap", "what is left above the floor", "1"),
    Metric("floor_gap.swap", "(loss − floor) / (chance − floor): 0 as low as this head can get", roles=("key",)),
    # separation
    Metric(
        "gap",
        "mean energy of wrong actions less the expert's",
        "energy",
        better="higher",
        min_effect=0.05,
        relative=True,
        bound_to=(HEAD, TAU),
    ),
    Metric("gap.swap", "gap to other contexts' actions", healthy="> 0", roles=("key", "compared", "arm-scaled")),
    Metric("gap_std", "gap in standard deviations of the energies", "1", better="higher", min_effect=0.1),
    Metric(
        "gap_std.swap",
        "gap to other contexts' actions, in standard deviations",
        healthy="> 1",
        roles=("key",),
        label="gap, in standard deviations",
        sweep=(8, "gap", "/std"),
    ),
    Metric(
        "auroc",
        "chance that the expert's action has less energy than a wrong one",
        "1",
        better="higher",
        min_effect=0.005,
        within=_SHARE,
        chance=0.5,
    ),
    Metric(
        "auroc.swap",
        "AUROC against other contexts' actions",
        healthy="> 0.8",
        roles=("key", "compared", "proof", "arm"),
        label="AUROC, other contexts' actions",
        chance=0.5,
        within=_SHARE,
        tile=Tile(1, "Expert against others", "AUROC, other contexts' actions: 1 is right, 0.5 is chance"),
        sweep=(1, "AUROC", "swap"),
    ),
    Metric(
        "top1",
        "share of sets in which the expert's action has the lowest energy",
        "1",
        better="higher",
        min_effect=0.02,
    ),
    Metric(
        "top1.swap",
        "how often the expert's action comes first among other contexts'",
        healthy="far above chance",
        roles=("key", "compared", "proof", "arm"),
        label="top-1",
        sweep=(2, "top1", "swap"),
    ),
    Metric("top1.swap.chance", "top-1 of a head that cannot tell", better="none"),
    Metric("mrr", "mean reciprocal rank of the expert's action", "1", better="higher", min_effect=0.02),
    Metric("mrr.swap", "mean reciprocal rank among other contexts' actions", roles=("key", "compared")),
    Metric("mrr.swap.chance", "mean reciprocal rank of a head that cannot tell", better="none"),
    Metric(
        "auroc.policy",
        "how often the expert's action has less energy than the policy's",
        healthy="> 0.5, good > 0.8",
        roles=("key", "compared", "proof", "arm"),
        label="expert above policy",
        chance=0.5,
        within=_SHARE,
        tile=Tile(2, "Expert against policy", "AUROC, the policy's action: 0.5 cannot tell them apart"),
        sweep=(3, "AUROC", "policy"),
    ),
    *(Metric(f"auroc.noise_{sigma}", f"AUROC against noise of {sigma}", healthy="> 0.8") for sigma in (0.05, 0.15)),
    Metric("auroc.amplitude_1.5", "AUROC against 1.5 times the action", healthy="> 0.8"),
    Metric("npc", "negative-positive coupling 1 − p₊: how much the loss still pulls", "1"),
    Metric("npc.swap", "coupling with other contexts' actions", healthy="between 0.05 and 0.7"),
    Metric("effective_negatives", "how many negatives the loss feels", "count"),
    Metric("separation", "ranks of the table of energies", "1"),
    Metric(
        "separation.table_rank",
        "effective rank of E(hᵢ, aⱼ) without its row and column means",
        healthy="> 1.5, good several",
    ),
    Metric("separation.action_rank", "effective rank of the actions themselves"),
    # the field
    Metric("field", "where following the energy leads", "1"),
    Metric(
        "field.spearman",
        "rank correlation of energy and distance to the expert",
        healthy="> 0.7",
        better="higher",
        min_effect=0.02,
        roles=("compared", "proof-without-policy"),
    ),
    Metric("field.alignment", "cosine of −∇E with the way to the expert", better="higher", min_effect=0.02),
    Metric("field.alignment.chance_std", "standard deviation of that cosine for random directions", better="none"),
    *(
        Metric(
            f"field.alignment.noise_{sigma}",
            f"cosine with the way back from noise of {sigma}",
            roles=("proof-without-policy",),
        )
        for sigma in (0.05, 0.15, 0.3)
    ),
    Metric(
        "field.alignment.policy",
        "cosine with the way from the policy's action to the expert's",
        healthy="> 0.5",
        roles=("compared", "proof", "arm"),
        label="alignment at the policy's action",
        chance=0.0,
        within=(-1.0, 1.0),
        tile=Tile(4, "Gradient to the expert", "cosine: 0 is chance"),
        sweep=(7, "align-", "ment"),
    ),
    Metric(
        "field.correction_gain",
        "share of the action error that steps down the energy win",
        better="higher",
        min_effect=0.01,
    ),
    Metric(
        "field.correction_gain.k1",
        "action error won in one step",
        healthy="> 0",
        roles=("compared", "proof", "arm"),
        label="action error won, 1 step",
    ),
    Metric(
        "field.correction_gain.k2", "action error won in two steps", roles=("arm",), label="action error won, 2 steps"
    ),
    Metric(
        "field.correction_gain.k4",
        "action error won in four steps",
        healthy="> 0",
        roles=("compared", "proof", "arm"),
        label="action error won, 4 steps",
        chance=0.0,
        within=(-0.5, 0.5),
        tile=Tile(5, "Error won in 4 steps", "share of the error: below 0 it leads astray"),
        sweep=(6, "gain", "k4"),
    ),
    Metric(
        "field.correction_gain.k8",
        "action error won in eight steps",
        healthy="> 0",
        roles=("compared", "proof", "arm"),
        label="action error won, 8 steps",
    ),
    Metric("field.correction_energy", "change of the energy by steps down", "energy"),
    Metric(
        "field.monotonicity_violations",
        "share of steps on the way to the expert at which the energy rises",
        healthy="< 15 %",
        better="lower",
        min_effect=0.02,
        roles=("compared",),
    ),
    Metric(
        "field.spurious_minimum_rate",
        "share of descents that end lower in energy than the expert and farther from it",
        better="lower",
        min_effect=0.02,
        roles=("compared", "arm"),
    ),
    Metric("field.trust_ratio", "fall of the energy over what its gradient foretold", healthy="0.7 to 1"),
    # gradients
    Metric("gradient", "sizes of gradients", "1"),
    Metric("gradient.parameters", "gradients of the loss to the parameters", "nat"),
    Metric(
        "gradient.parameters.norm", "norm of the loss's gradient", healthy="1e-6 to 1e3", roles=("key", "arm-scaled")
    ),
    Metric(
        "gradient.parameters.first_last_ratio",
        "gradient of the first layer over the last one's",
        "1",
        "1e-3 to 1e3",
        roles=("key",),
    ),
    Metric("gradient.parameters.loss", "the loss whose gradient it is"),
    Metric("gradient.parameters.nonfinite", "parameters whose gradient is NaN or infinite", "count", healthy="0"),
    Metric("gradient.parameters.zero_fraction", "share of gradients that are 0", "1"),
    Metric(
        "gradient.actions.norm_median",
        "median norm of ∇ₐE",
        "energy/action",
        roles=("key", "arm-scaled"),
        label="action gradient, median norm",
        tile=Tile(6, "Action gradient", "median norm: 0 moves nothing"),
        sweep=(5, "action", "grad."),
    ),
    *(
        Metric(f"gradient.actions.norm_q{q}", f"{int(q)} % quantile of the norm of ∇ₐE", "energy/action")
        for q in ("05", "95")
    ),
    Metric(
        "gradient.actions.relative_median",
        "median norm of ∇ₐE, in spreads of the energy a spread of the action",
        healthy="> 0.01",
        roles=("key",),
    ),
    Metric(
        "gradient.actions.relative_away",
        "the same away from the expert's action",
        healthy="> 0.01",
    ),
    Metric(
        "gradient.actions.share_max",
        "largest share of a dimension in ∇ₐE",
        healthy="< 3 / dimensions",
        roles=("key",),
    ),
    Metric("gradient.actions.share", "share of a dimension or a step in ∇ₐE"),
    Metric("gradient.actions.nonfinite_fraction", "share of samples whose ∇ₐE is NaN or infinite", healthy="0"),
    Metric(
        "gradient.context.effective_rank", "effective rank of the gradients to the context", healthy="> 1.5, good many"
    ),
    Metric("gradient.context.zero_fraction", "share of contexts whose gradient is 0", healthy="0"),
    # what the energy listens to
    Metric("conditioning", "what changes the energy", "1"),
    Metric("conditioning.action_use", "change by another action, in spreads of the energy", healthy="about 1 or more"),
    Metric(
        "conditioning.context_use", "change by another context, in spreads of the energy", healthy="about 1 or more"
    ),
    Metric(
        "conditioning.interaction",
        "what context and action do together, over the spread of the energy",
        healthy="far above 0.05",
    ),
    Metric("conditioning.visible_effect", "change by noise in the visible tokens"),
    Metric("conditioning.pad_effect", "change by noise in the hidden tokens", healthy="0"),
    Metric(
        "conditioning.inverted_mask",
        "effect of hidden tokens over that of all: 1 where the mask is upside down",
        healthy="0",
    ),
    Metric("conditioning.turned_mask.auroc_gain", "what AUROC wins by the inverted mask", healthy="below 0"),
    Metric("conditioning.train_eval_shift", "change by training mode", healthy="< 0.35"),
    Metric("conditioning.repeat_shift", "change between two calls alike", healthy="0"),
    Metric("conditioning.batch_dependence", "change by the other rows of a call", healthy="0, < 1 %"),
    Metric("conditioning.bf16_shift", "change by bfloat16", healthy="< 0.05"),
    Metric("conditioning.bf16_auroc_drop", "what AUROC loses by bfloat16", healthy="near 0"),
    Metric("conditioning.blind", "change by one kind of change of the action", healthy="about 1"),
    *(
        Metric(
            f"conditioning.blind.{kind}.against_noise",
            "the same over that by noise of the same size",
            healthy="about 1",
        )
        for kind in ("scale", "shift")
    ),
    Metric("model", "what the model says of itself", "1"),
    Metric("model.dropout", "its largest dropout", healthy="0 to 0.5"),
    # inside the model
    Metric("hidden", "what units say", "1"),
    Metric("hidden.width", "width before the last linear layer", "count"),
    Metric("hidden.dead_units", "share of rectified units that are off for every sample"),
    Metric("hidden.dead_units.worst", "that of the worst layer", healthy="< 65 %, good 0"),
    Metric("hidden.saturated_fraction", "share of inputs at which a bounded unit is flat"),
    Metric("hidden.saturated_fraction.worst", "that of the worst layer", healthy="< 50 %"),
    Metric("hidden.constant_units", "share of units that say the same for every sample"),
    Metric("hidden.effective_rank", "effective rank before the last linear layer"),
    # weights
    Metric("weights", "sizes, ranks and symmetry of the weights", "1"),
    Metric("weights.rms_relative", "root mean square of a layer over that of a fresh one"),
    Metric("weights.rms_relative.max", "that of the largest layer", healthy="about 1, < 30"),
    Metric("weights.rms_relative.median", "that of the median layer", healthy="about 1, > 0.6"),
    Metric("weights.rms_relative.min", "that of the smallest layer", healthy="about 1, > 0.01"),
    Metric("weights.stable_rank_min", "smallest stable rank, as a share"),
    Metric("weights.biggest_spectral_norm", "largest spectral norm"),
    Metric("weights.symmetric_units", "share of units that equal another one"),
    Metric("weights.symmetric_units.worst", "that of the worst layer", healthy="0"),
    Metric("weights.untouched", "1 for a layer that looks as it was initialised"),
    Metric("weights.untouched_fraction", "share of layers that look as they were initialised", healthy="0"),
    Metric("weights.zero_layers", "share of matrices that are all zero"),
    Metric("weights.nonfinite", "share of parameters that are NaN or infinite"),
    # the training log
    Metric("run", "what the curves of a log say", "1"),
    Metric("run.points", "steps with a finite loss", "count", "≥ 20"),
    Metric("run.steps", "last logged step", "count"),
    Metric("run.first_step", "first logged step", "count", "0"),
    Metric("run.left_out", "share of the rows with a loss that were left out", healthy="0"),
    Metric("run.nonfinite", "logged steps with NaN or infinity", "count", "0"),
    Metric("run.nonfinite.masked", "steps with a NaN gradient norm beside a finite loss", "count", "0"),
    Metric("run.nonfinite.loss_growth", "loss just before the first of them over usual", "1", "about 1"),
    Metric("run.nonfinite.norm_growth", "gradient norm just before the first of them over usual", "1", "about 1"),
    Metric("run.last_finite_step", "last step before the first of them", "count"),
    Metric("run.loss.first", "first loss", "nat", roles=("key",), tile=Tile(9, "Loss at the start", "nats")),
    Metric("run.loss.last", "loss at the end", "nat", roles=("key",), tile=Tile(8, "Loss at the end", "nats")),
    Metric("run.loss.best", "lowest loss", "nat"),
    Metric("run.loss.slope_last_half", "how far the loss moved over the second half", "nat", roles=("key",)),
    Metric("run.loss.fall", "share of the first loss that is gone"),
    Metric("run.loss.early_rise", "rise in the first tenth, over the first loss", healthy="about 0"),
    Metric("run.loss.rise", "rise over the second half", healthy="not above 0"),
    Metric("run.loss.repeat", "share of windows of losses that stood there before, digit by digit"),
    Metric("run.objective", "the objective", "nat"),
    Metric("run.objective.first", "first value of the objective", healthy="about chance"),
    Metric(
        "run.objective.last",
        "the objective at the end",
        roles=("key",),
        tile=Tile(7, "Objective at the end", "between floor and chance"),
    ),
    Metric("run.objective.chance", "that of a model that cannot tell", roles=("key",)),
    Metric("run.objective.floor", "the least that this head can reach", healthy="far below the loss", roles=("key",)),
    Metric("run.objective.slope_last_half", "how far the objective moved over the second half"),
    Metric("run.objective.moved", "how far its running mean ever moved, over its largest", "1", "far above 0"),
    Metric("run.objective.late_fall", "share of its second tenth that is gone at the end", "1"),
    Metric("run.objective.constant_end", "share of the points, at the end, that are equal digit by digit", "1", "0"),
    Metric("run.objective.zeros", "share of the points that are exactly 0", "1", "0"),
    Metric("run.objective.below_zero", "share of the points below 0, which it cannot be", "1", "0"),
    Metric("run.objective.reach", "part of the logged steps that the loss reaches to", "1", "1"),
    Metric("run.chance_gap", "(chance − last) / chance: 0 nothing learned", healthy="far above 0"),
    Metric("run.floor_gap", "(last − floor) / (chance − floor): 0 as low as this head can get", roles=("key",)),
    Metric("run.validation.last", "validation loss at the end", "nat", roles=("key",)),
    Metric("run.validation.chance_gap", "(chance − validation) / chance", healthy="near that of training"),
    Metric("run.validation_gap", "validation loss less training loss at the end", "nat", "about 0"),
    Metric("run.validation_rise", "rise of the validation loss after its lowest", healthy="0"),
    Metric(
        "run.gap.last",
        "gap at the end",
        "energy",
        "> 0",
        roles=("key",),
        tile=Tile(12, "Gap at the end", "others' energy less the expert's"),
    ),
    Metric("run.gap.trend", "how far the gap moved over the second half", healthy="not below 0"),
    *(
        Metric(
            f"run.{held_out}{name}.last",
            f"{title} at the end{' on held-out samples' if held_out else ''}",
            healthy="> 0.8" if name == "auroc" else "far above chance",
            roles=("key",),
            chance=0.5 if name == "auroc" else None,
            within=_SHARE,
            tile=Tile(10, "AUROC at the end", "1 is right, 0.5 is chance") if held_out + name == "auroc" else None,
        )
        for held_out in ("validation_", "")
        for name, title in (
            ("top1", "top-1"),
            ("recall", "recall among the first few"),
            ("auroc", "AUROC"),
            ("average_precision", "average precision"),
            ("correlation", "correlation or R²"),
        )
    ),
    Metric(
        "run.saturation.last",
        "saturated share at the end",
        healthy="< 10 %",
        roles=("key",),
        within=_SHARE,
        tile=Tile(11, "Saturated head at the end", "share of raw values: 0 is right"),
    ),
    Metric("run.energy_drift", "how far the energies' level moved, in gaps", healthy="within ±1"),
    Metric("run.energy_size.growth", "size of the energies at the end over the beginning", healthy="not without end"),
    Metric("run.energy_size.late_growth", "the same, over the middle", healthy="about 1"),
    Metric("run.impossible", "values that their quantities cannot have", "count", "0"),
    Metric("run.energy_scale_growth", "size of the energies at the end over the middle", healthy="about 1"),
    Metric(
        "run.gradient.norm.last",
        "gradient norm at the end",
        healthy="> 0, < 1e3",
        roles=("key",),
        tile=Tile(13, "Gradient norm at the end", "neither 0 nor without end"),
    ),
    Metric("run.gradient.norm.median", "median gradient norm"),
    Metric("run.gradient.norm.max", "largest gradient norm"),
    Metric("run.gradient.zeros", "share of the points whose gradient norm is exactly 0", healthy="0"),
    Metric("run.gradient.growth", "gradient norm at the end over all before", healthy="about 1"),
    Metric("run.gradient.growth_from_start", "gradient norm at the end over the first", healthy="< 15"),
    Metric("run.gradient.rises", "share of neighbours whose gradient norm rises", healthy="about 0.5"),
    Metric("run.clipping_share", "share of steps that were clipped", healthy="now and then"),
    Metric("run.clipping_factor", "median gradient norm over the limit", healthy="about 1"),
    Metric("run.learning_rate.peak", "largest learning rate", roles=("key",)),
    Metric("run.learning_rate.peak_at", "share of the run before it", healthy="in the first half"),
    Metric("run.learning_rate.warmup", "first learning rate over the largest"),
    Metric("run.update_ratio.median", "median ‖Δw‖ / ‖w‖ a step", healthy="about 1e-3"),
    Metric("run.update_ratio.first", "first ‖Δw‖ / ‖w‖"),
    Metric("run.weight_norm.last", "last ‖w‖ over the first", healthy="> 0.52, mostly above 1"),
    Metric("run.weight_norm.change", "largest |‖w‖ / ‖w₀‖ − 1|"),
    Metric("run.oscillation", "share of the loss's variance in one period", healthy="below that of noise"),
    Metric("run.oscillation.noise", "what noise exceeds once in a thousand times"),
    Metric("run.oscillation.period", "steps of that period", "count"),
    Metric("run.oscillation.amplitude", "its amplitude over the mean loss"),
    Metric("run.spikes", "losses far above those around them", "count", "0"),
    Metric("run.spikes.height", "how far the highest stands above its surroundings", "1"),
)

SERIES: Mapping[str, Metric] = {
    series.name: series
    for series in (
        *(
            Metric(
                name,
                meaning,
                "nat",
                better="lower",
                min_effect=0.02,
                relative=True,
                bound_to=(HEAD, TAU, NEGATIVES, OBJECTIVE, SAMPLING),
                seeds=seeds,
            )
            for name, meaning, seeds in (
                ("validation_loss", "validation loss", 0.06),
                ("final_loss", "loss after the last step of the descent", 0.063),
                ("info_nce", "InfoNCE", 0.063),
                ("objective_loss", "the objective", 0.063),
                ("loss", "training loss", 0.043),
            )
        ),
        *(
            Metric(name, meaning, "1", better="higher", min_effect=effect, bound_to=bound_to, seeds=seeds)
            for name, meaning, effect, bound_to, seeds in (
                ("validation_auroc", "held-out AUROC", 0.005, (), 0.0032),
                ("auroc", "AUROC", 0.005, (SAMPLING,), 0.0032),
                ("validation_top1", "held-out top-1", 0.02, (NEGATIVES, OBJECTIVE), 0.048),
                ("top1", "top-1", 0.02, (NEGATIVES, OBJECTIVE, SAMPLING), 0.048),
                ("validation_recall", "held-out recall among the first few", 0.02, (NEGATIVES, OBJECTIVE), 0.048),
                ("recall", "recall among the first few", 0.02, (NEGATIVES, OBJECTIVE, SAMPLING), 0.048),
                ("validation_average_precision", "held-out average precision", 0.02, (), 0.048),
                ("average_precision", "average precision", 0.02, (SAMPLING,), 0.048),
            )
        ),
        Metric(
            "gap",
            "gap",
            "energy",
            better="higher",
            min_effect=0.05,
            relative=True,
            bound_to=(HEAD, TAU, OBJECTIVE, SAMPLING),
            seeds=0.071,
        ),
        Metric("saturation", "saturated share", "1", better="lower", min_effect=0.02, seeds=0.016),
        *(
            Metric(name, meaning, better="none")
            for name, meaning in (
                ("energy_positive", "energy of the expert's action"),
                ("energy_negative", "energy of others' actions"),
                ("gradient_norm", "gradient norm"),
                ("weight_norm", "norm of the weights"),
                ("update_ratio", "‖Δw‖ / ‖w‖ a step"),
                ("clipped", "whether a step was clipped"),
            )
        ),
    )
}
"""Series of a log, by our names, that are compared."""

IN_WORDS: Mapping[str, str] = {
    "energy_positive": "positive energy",
    "energy_negative": "negative energy",
    "gap": "gap",
    "gradient_norm": "gradient norm",
}
"""Series of a log that a comparison tells in a sentence, too, and what they are called there."""

GROUPS = (
    Group(
        "The head",
        "Where its raw values lie under the activation that makes the energy, and how much slope and range is left.",
        ("head",),
    ),
    Group(
        "Loss and floor",
        "The contrastive loss on this batch, what chance would give, and the floor below which this head cannot get.",
        ("loss", "floor_gap"),
    ),
    Group(
        "Separation",
        "Whether the expert's action has less energy than wrong ones: AUROC (0.5 is chance), gap in energy and in "
        "standard deviations, how often it comes first (top1), mean reciprocal rank (mrr); by kind of wrong action.",
        ("auroc", "gap", "gap_std", "npc", "top1", "mrr", "effective_negatives", "separation"),
    ),
    Group(
        "The field",
        "Where following the energy leads: whether its gradient points to the expert's action (alignment), how much "
        "of the action error some steps down win (correction_gain), and how smooth the way is.",
        ("field",),
    ),
    Group(
        "Gradients",
        "Sizes of the gradients with respect to actions, context and parameters, and how they are spread.",
        ("gradient",),
    ),
    Group(
        "What the energy listens to",
        "How much context, action, padding, precision and train mode change the energy.",
        ("conditioning", "model"),
    ),
    Group(
        "Inside the model",
        "Units that are dead, constant or saturated, and the rank of what they say.",
        ("hidden",),
    ),
    Group(
        "Weights",
        "Sizes, ranks and symmetry of the weights, and what looks as if it was never trained.",
        ("weights",),
    ),
    Group("The data", "Samples, padding, duplicates, scales, and how far the policy is from the expert.", ("data",)),
    Group("The training log", "What the curves of the run say; losses in nats.", ("run",)),
)
_REST = Group("Others", "", ())

_UNITS = {"1": "", "count": "", "energy": "E", "energy/action": "E/a"}

_BY_NAME = {one.name: one for one in METRICS}
_INHERITED = ("unit", "better", "min_effect", "relative", "bound_to")


@functools.cache
def metric(name: str) -> Metric:
    """What is known of a measurement; one that no entry and no family covers has a name alone.

    Args:
        name: Of the measurement.
    """
    found = _BY_NAME.get(name, Metric(name, ""))
    family = name
    while "." in family:
        family = family.rpartition(".")[0]
        above = _BY_NAME.get(family)
        if above is not None:
            missing = {field: getattr(above, field) for field in _INHERITED if getattr(found, field) is None}
            found = replace(found, **missing)
    return found


def is_known(name: str) -> bool:
    """Whether the registry has the metric or a family of it."""
    return name in _BY_NAME or ("." in name and is_known(name.rpartition(".")[0]))


def auroc_of(source: str) -> str:
    """The AUROC against a source of negatives."""
    return f"auroc.{source}"


def part(name: str, family: str) -> str | None:
    """What follows the family in a metric's name, or None where it is none of that family."""
    return name.removeprefix(f"{family}.") if name.startswith(f"{family}.") else None


def names(role: Role) -> tuple[str, ...]:
    """The metrics of a role, in the order of the registry."""
    return tuple(one.name for one in METRICS if role in one.roles)


def proof(with_policy: bool) -> tuple[str, ...]:
    """What a repair is judged on, scale-free: ranking far and near, direction, and what following E does.

    Args:
        with_policy: Whether the policy's actions are known; without, the field around the expert's action tells more.
    """
    return names("proof") if with_policy else (*names("proof"), *names("proof-without-policy"))


def tiles() -> dict[str, Metric]:
    """What stands on top of a page, in order."""
    shown = sorted((one.tile.order, one.name) for one in METRICS if one.tile is not None)
    return {name: metric(name) for _, name in shown}


def sweep_columns() -> dict[str, tuple[str, str]]:
    """The columns of many checkpoints, the last ones the least, with titles in two lines."""
    shown = sorted((one.sweep[0], one.name, one.sweep[1:]) for one in METRICS if one.sweep is not None)
    return {name: title for _, name, title in shown}


def direction(name: str) -> Better:
    """Which direction of a measurement is good, both sides having the same scale."""
    found = metric(name)
    return "none" if found.better is None or found.min_effect is None else found.better


def smallest_change(name: str, beside: float | None = None) -> float | None:
    """The smallest change of a measurement that matters, in its unit, or None where it has no direction.

    Args:
        name: Of the measurement.
        beside: The first side's value, where both sides have the same scale; None: nothing is known of that.
    """
    found = metric(name)
    if found.min_effect is None or found.better in (None, "none") or (found.relative and beside is None):
        return None
    return found.scaled(found.min_effect, beside or 0.0)


def unit_shown(unit: str) -> str:
    """A unit beside a number; ratios and counts have none."""
    return _UNITS.get(unit, unit)


def grouped(measured: Iterable[str]) -> Mapping[Group, list[str]]:
    """Names by group, in the order of the groups."""
    found: dict[Group, list[str]] = {group: [] for group in (*GROUPS, _REST)}
    for name in measured:
        family = name.partition(".")[0]
        found[next((group for group in GROUPS if family in group.families), _REST)].append(name)
    return {group: inside for group, inside in found.items() if inside}
