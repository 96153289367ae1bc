"""The healthy cases."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from . import nets
from .case import Case, Log
from .exact import Exact
from .fit import Recipe, Row
from .world import World

NOTHING: dict[str, Any] = {}
ALL_RATES = {"step": "step", "loss": "loss", "grad_norm": "grad_norm", "lr": "lr"}


def context_of(world: World) -> int:
    """Numbers in a context."""
    return world.width * max(world.tokens, 1)


def flat(world: World) -> dict[str, int]:
    """Sizes that networks over flat contexts and chunks ask for."""
    return {"context": context_of(world), "chunk": world.chunk}


def stepwise(world: World) -> dict[str, int]:
    """Sizes that networks over the steps of a chunk ask for."""
    return {"context": context_of(world), "dims": world.dims}


def _exact(name: str, kind: str, dump: Mapping[str, Any] | None = None, sign: str = "energy", **others: Any) -> Case:
    double = others.pop("double", False)
    given = {"kind": kind, "turn": -1.0 if sign == "score" else 1.0, **others}
    dump = {"width": given.get("width", 24), **(dump or {})}
    known = {"temperature": 1.0} if kind in ("experts", "precision", "modes") else {}
    return Case(name, "exact", Exact, given, dump, checkpoint=NOTHING, sign=sign, known=known, double=double)


def _trained(
    name: str,
    objective: str,
    net: type[nn.Module],
    arguments: Mapping[str, Any],
    world: World,
    recipe: Recipe,
    log: Log | None = None,
    checkpoint: bool = True,
    **others: Any,
) -> Case:
    said = {"checkpoint": NOTHING if checkpoint else None, "of_log": NOTHING if log else None}
    return Case(name, objective, net, arguments, world, recipe, log, **said, **others)


def infonce(batch: int, temperature: float = 1.0, negatives: int | None = None) -> dict[str, Any]:
    """What the owner of an InfoNCE training knows."""
    known: dict[str, Any] = {"temperature": temperature, "chance": math.log(1 + (negatives or batch - 1))}
    return known if negatives is None else {**known, "negatives": negatives}


def late(rows: list[Row]) -> list[Row]:
    """The last two fifths of a log, as of a run whose steps are counted from another place."""
    kept = rows[-2 * len(rows) // 5 :]
    return [{**row, "step": 48_000 + 10 * number} for number, row in enumerate(kept)]


def by_epoch(rows: list[Row]) -> list[Row]:
    """A row for each whole epoch."""
    return [{**row, "epoch": round(row["epoch"])} for row in rows[1:]]


def whole_epochs(rows: list[Row]) -> list[Row]:
    """All rows, and which epoch each belongs to."""
    return [{**row, "epoch": int(row["epoch"])} for row in rows]


EXACT = (
    _exact("poe-exact", "experts", dims=6),
    _exact("modes-exact", "modes", dims=3, horizon=4),
    _exact("precision-exact", "precision", double=True, dump={"episodes": 16, "length": 16}),
    _exact(
        "von-mises-exact", "von-mises", dims=3, horizon=0, sigma=0.15, dump={"tokens": 0, "episodes": 40, "length": 8}
    ),
    _exact("huber-exact", "huber", level=350.0, dims=7, horizon=8, width=48, dump={"tokens": 9}),
    _exact("student-exact", "student", sign="score", level=-2000.0, dump={"policy": False}),
    _exact("logcosh-exact", "logcosh", width=40, dump={"tokens": 0, "episodes": 30}),
    _exact("nearest-exact", "nearest", dims=2, horizon=8, dump={"episodes": 32, "length": 16}),
    _exact("discounted-exact", "discounted", horizon=10, dump={"padded": True, "tokens": 8}),
    _exact("basis-exact", "basis", horizon=12, dims=3, dump={"policy": False, "episodes": 12, "length": 20}),
)

POOLED = World()
WIDE = World(dims=6, horizon=8, width=64, episodes=24)
SINGLE = World(dims=5, horizon=0, width=24, episodes=30, length=10)
TOKENS = World(dims=4, horizon=4, tokens=4, width=16)
PADDED = World(dims=4, horizon=6, tokens=6, width=16, padded=True, episodes=32, length=12)
FEW = World(dims=4, horizon=5, episodes=8, length=8)
MANY = World(dims=4, horizon=5, episodes=40, length=12)
WITH_POLICY = World(dims=4, horizon=5, policy=True, episodes=24)

NEAR_AND_FAR = {"noised": 8}

CHECKPOINTS = (
    _trained(
        "film-bce", "bce", nets.Film, flat(MANY), MANY, Recipe("bce", 500, 48, options={"negatives": 4}), double=True
    ),
    _trained(
        "metric-triplet",
        "triplet",
        nets.Towers,
        {**flat(SINGLE), "form": "square"},
        SINGLE,
        Recipe("triplet", 400, 48, options={"margin": 1.0}),
    ),
    _trained(
        "lstm-infonce",
        "infonce",
        nets.LstmContext,
        {"width": PADDED.width, "chunk": PADDED.chunk},
        PADDED,
        Recipe("infonce", 600, 32, 4e-3, options={"noised": 10}),
        known=infonce(32, negatives=41),
    ),
)

CONTRASTIVE = (
    _trained(
        "bilinear-infonce",
        "infonce",
        nets.Bilinear,
        flat(POOLED),
        POOLED,
        Recipe("infonce", 500, 32),
        Log({"step": "step", "loss": "loss", "top1": "acc", "grad_norm": "grad_norm"}),
        known=infonce(32),
    ),
    _trained(
        "clip-symmetric",
        "infonce",
        nets.Towers,
        {**flat(TOKENS), "scale": 14.3},
        TOKENS,
        Recipe("infonce", 500, 48, options={"symmetric": True}, validate=1),
        Log(
            {
                "step": "_step",
                "seconds": "_runtime",
                "loss": "train/loss",
                "logit_scale": "train/logit_scale",
                "lr": "train/lr",
                "val_top1": "val/image_to_text_R@1",
                "val_top5": "val/image_to_text_R@5",
            },
            "jsonl",
        ),
        known=infonce(48),
    ),
    _trained(
        "extra-negatives",
        "infonce",
        nets.Concatenated,
        flat(WITH_POLICY),
        WITH_POLICY,
        Recipe("infonce", 450, 24, options={"noised": 8, "anchor": 1e-4}, validate=2),
        Log(
            {
                "step": "iteration",
                "loss": "train_loss",
                "top1": "train_top1",
                "val_loss": "val_loss",
                "val_top1": "val_top1",
            }
        ),
        known=infonce(24, negatives=31),
    ),
    _trained(
        "moco-queue",
        "infonce",
        nets.Towers,
        {**flat(WIDE), "scale": 10.0},
        WIDE,
        Recipe("queue", 600, 48, options={"queue": 512, "temperature": 0.1}),
        Log({"epoch": "Epoch", "step": "Iter", "loss": "Loss", "top1": "Acc@1", "top5": "Acc@5"}, edit=whole_epochs),
        known=infonce(48, negatives=512),
    ),
    _trained(
        "transformer-critic",
        "infonce",
        nets.TokenTransformer,
        {"width": TOKENS.width, "dims": TOKENS.dims, "tokens": TOKENS.tokens, "horizon": TOKENS.horizon, "turn": -1.0},
        TOKENS,
        Recipe("infonce", 420, 16, 3e-3, options={"anchor": 1e-3}, every=4),
        Log(
            {
                "step": "training/step",
                "loss": "training/critic_loss",
                "top1": "training/categorical_accuracy",
                "logits_pos": "training/logits_pos",
                "logits_neg": "training/logits_neg",
                "logsumexp": "training/logsumexp",
            },
            "jsonl",
        ),
        sign="score",
        known=infonce(16),
    ),
    _trained(
        "gru-infonce",
        "infonce",
        nets.ActionGRU,
        stepwise(WIDE),
        WIDE,
        Recipe("infonce", 648, 20, 3e-3, options={"noised": 6}, every=36, validate=1, training_episodes=60),
        Log({"epoch": "epoch", "loss": "train_loss", "val_loss": "valid_loss"}, edit=by_epoch, digits=4),
        known=infonce(20, negatives=25),
    ),
    _trained(
        "conv-infonce",
        "infonce",
        nets.ResidualConv,
        {**stepwise(POOLED), "horizon": POOLED.horizon},
        POOLED,
        Recipe("infonce", 500, 24, options={"noised": 4}, every=20),
        Log({"step": "global_step", "loss": "nce", "lr": "lr", "grad_norm": "gnorm"}, "jsonl"),
        known=infonce(24, negatives=27),
    ),
    _trained(
        "cosine-scaled",
        "infonce",
        nets.Towers,
        {**flat(PADDED), "scale": 14.3},
        PADDED,
        Recipe("infonce", 500, 64, only=("context", "action")),
        Log({"step": "step", "loss": "contrastive_loss", "top1": "logits/accuracy"}),
        known=infonce(64),
    ),
    _trained(
        "precision-infonce",
        "infonce",
        nets.LearnedPrecision,
        flat(WITH_POLICY),
        WITH_POLICY,
        Recipe("infonce", 400, 64, options={"noised": 4}),
        Log({"step": "step", "loss": "loss", "top1": "accuracy", "lr": "learning_rate"}),
        known=infonce(64, negatives=67),
        double=True,
    ),
    _trained(
        "poe-infonce",
        "infonce",
        nets.StepExperts,
        {**stepwise(POOLED), "horizon": POOLED.horizon, "level": -500.0},
        POOLED,
        Recipe("infonce", 350, 20, 3e-3),
        Log(
            {
                "step": "step",
                "loss": "loss_nce",
                "top1": "top1",
                "energy_pos": "energy_pos",
                "energy_neg": "energy_neg",
            },
            "jsonl",
            edit=lambda rows: [
                {**row, "energy_pos": -row["logits_pos"], "energy_neg": -row["logits_neg"]} for row in rows
            ],
        ),
        known=infonce(20),
    ),
    _trained(
        "few-rows",
        "infonce",
        nets.Concatenated,
        flat(FEW),
        FEW,
        Recipe("infonce", 450, 24, options={"noised": 8}, validate=3, every=10),
        Log(
            {
                "loss": "loss",
                "grad_norm": "grad_norm",
                "lr": "learning_rate",
                "epoch": "epoch",
                "step": "step",
                "val_loss": "eval_loss",
            },
            "hf",
        ),
        known=infonce(24, negatives=31),
    ),
)

PAIRS = (
    _trained(
        "concat-bce",
        "bce",
        nets.Concatenated,
        flat(POOLED),
        POOLED,
        Recipe("bce", 700, 64, every=10, validate=1),
        Log({"step": "step", "loss": "bce", "val_loss": "val_bce", "accuracy": "acc"}),
        known={"negatives": 1, "chance": math.log(2)},
    ),
    _trained(
        "concat-nce",
        "bce",
        nets.Concatenated,
        flat(WITH_POLICY),
        WITH_POLICY,
        Recipe("bce", 500, 48, options={"negatives": 9, "near": 6, "balanced": False}),
        Log({"step": "step", "loss": "nce_loss", "pos_prob": "pos_prob", "neg_prob": "neg_prob"}, "jsonl"),
        known={"negatives": 15, "chance": math.log(16) - 15 / 16 * math.log(15)},
    ),
    _trained(
        "film-binary",
        "bce",
        nets.Film,
        {**flat(WIDE), "turn": -1.0},
        WIDE,
        Recipe("bce", 500, 24, options={"in_batch": True, "near": 6}),
        Log(
            {
                "step": "env_steps",
                "loss": "critic_loss",
                "accuracy": "binary_accuracy",
                "logits_pos": "logits_pos",
                "logits_neg": "logits_neg",
            },
            "jsonl",
        ),
        sign="score",
        known={"negatives": 29, "chance": math.log(2)},
    ),
    _trained(
        "siglip-towers",
        "siglip",
        nets.Towers,
        {**flat(POOLED), "bias": -10.0},
        POOLED,
        Recipe("siglip", 700, 48, 3e-3, every=10),
        Log(
            {"step": "step", "loss": "loss", "logit_scale": "logit_scale", "logit_bias": "logit_bias", "lr": "lr"},
            "jsonl",
        ),
    ),
    _trained(
        "siglip-mean",
        "siglip",
        nets.Towers,
        {**flat(TOKENS), "bias": -10.0, "activation": "GELU"},
        TOKENS,
        Recipe("siglip", 700, 32, 3e-3, options={"mean": True}, validate=1, every=10),
        Log({"epoch": "epoch", "loss": "train/siglip", "val_top1": "val/R@1", "val_top5": "val/R@5"}),
    ),
    _trained(
        "rbf-margin",
        "margin",
        nets.RadialBasis,
        flat(WITH_POLICY),
        WITH_POLICY,
        Recipe("margin", 500, 48, options={"margin": 1.0}),
        Log({"step": "step", "loss": "hinge", "active": "active"}),
    ),
    _trained(
        "triplet-hard",
        "triplet",
        nets.Towers,
        {**flat(WIDE), "form": "distance", "normalize": True},
        WIDE,
        Recipe("triplet", 600, 48, options={"margin": 0.2, "hard_from": 200, "all": True, "noised": 4}, every=10),
        Log(
            {
                "epoch": "epoch",
                "loss": "loss",
                "positive_triplets": "fraction_positive_triplets",
                "mean_dist": "mean_dist",
                "top1": "recall@1",
            }
        ),
    ),
    _trained(
        "triplet-soft",
        "triplet",
        nets.LstmContext,
        {"width": TOKENS.width, "chunk": TOKENS.chunk},
        TOKENS,
        Recipe("triplet", 500, 32, 4e-3, options={"soft": True}),
        Log({"step": "step", "loss": "soft_margin_loss", "top1": "recall_at_1"}, "jsonl"),
    ),
    _trained(
        "reward-transformer",
        "bradley-terry",
        nets.TokenTransformer,
        {"width": 16, "dims": 4, "tokens": 4, "horizon": 4, "turn": -1.0},
        TOKENS,
        Recipe("bradley-terry", 500, 48, 3e-3, every=10, validate=5),
        Log(
            {
                "epoch": "epoch",
                "grad_norm": "grad_norm",
                "lr": "learning_rate",
                "loss": "loss",
                "step": "step",
                "val_accuracy": "eval_accuracy",
                "val_loss": "eval_loss",
            },
            "hf",
            digits=4,
        ),
        sign="score",
        known={"temperature": 1.0, "negatives": 1, "chance": math.log(2)},
    ),
    _trained(
        "reward-gru",
        "bradley-terry",
        nets.ActionGRU,
        {**stepwise(POOLED), "turn": -1.0, "level": 60.0},
        POOLED,
        Recipe("bradley-terry", 600, 64, 4e-3, options={"near": 0.3}),
        Log(
            {
                "step": "step",
                "loss": "loss",
                "chosen": "rewards/chosen",
                "rejected": "rewards/rejected",
                "gap": "rewards/margins",
                "accuracy": "rewards/accuracies",
            },
            "jsonl",
        ),
        sign="score",
        known={"temperature": 1.0, "negatives": 1, "chance": math.log(2)},
    ),
)

SAMPLED = (
    _trained(
        "cd-concat",
        "contrastive-divergence",
        nets.Concatenated,
        flat(WITH_POLICY),
        WITH_POLICY,
        Recipe(
            "contrastive-divergence", 400, 64, options={"alpha": 0.2, "chain": 16, "length": 0.2, "from_others": True}
        ),
        Log({"step": "iter", "loss": "loss", "pos_out": "pos_out", "neg_out": "neg_out", "grad_norm": "grad_norm"}),
        known={"temperature": 1.0},
    ),
    _trained(
        "pcd-conv",
        "contrastive-divergence",
        nets.ResidualConv,
        {**stepwise(POOLED), "horizon": 5, "turn": -1.0},
        POOLED,
        Recipe(
            "contrastive-divergence", 450, 48, options={"alpha": 0.1, "persistent": True, "chain": 8, "length": 0.1}
        ),
        Log(
            {"step": "iteration", "f_right": "f(x_p_d)", "f_wrong": "f(x_q)", "gap": "d", "loss": "loss"},
            edit=lambda rows: [{**row, "f_right": -row["pos_out"], "f_wrong": -row["neg_out"]} for row in rows],
        ),
        sign="score",
        known={"temperature": 1.0},
    ),
    _trained(
        "dsm-gelu",
        "dsm",
        nets.Concatenated,
        flat(WITH_POLICY),
        WITH_POLICY,
        Recipe("dsm", 600, 64, options={"sizes": [0.3]}),
        Log({"step": "step", "loss": "dsm_loss", "grad_norm": "grad_norm"}),
        known={"chance": 1.0},
    ),
    _trained(
        "dsm-film",
        "dsm",
        nets.Film,
        flat(POOLED),
        POOLED,
        Recipe("dsm", 800, 64, 4e-3, options={"sizes": [0.15, 0.3, 0.6]}, every=20, validate=2),
        Log(
            {"epoch": "epoch", "loss": "loss", "lr": "learning_rate", "step": "step", "val_loss": "eval_loss"},
            "hf",
            digits=4,
        ),
        known={"chance": 1.0},
    ),
    _trained(
        "unrolled-concat",
        "unrolled",
        nets.Concatenated,
        {**flat(WITH_POLICY), "alpha": 0.5},
        WITH_POLICY,
        Recipe("unrolled", 500, 64, clip=1.0, options={"steps_down": 3}),
        Log(
            {
                "step": "step",
                "initial": "initial_loss",
                "final": "final_step_loss",
                "energy_fall": "initial_final_pred_energies_gap",
                "loss": "loss",
            }
        ),
    ),
    _trained(
        "unrolled-conv",
        "unrolled",
        nets.ResidualConv,
        {**stepwise(POOLED), "horizon": 5},
        POOLED,
        Recipe("unrolled", 500, 64, clip=1.0, options={"steps_down": 4, "rate": 0.8}, validate=2),
        Log(
            {
                "step": "trainer/global_step",
                "loss": "train/loss",
                "initial": "train/initial_loss",
                "val_loss": "val/loss",
            },
            "jsonl",
        ),
    ),
)

TARGETS = (
    _trained(
        "distance-regression",
        "distance-regression",
        nets.Concatenated,
        flat(WITH_POLICY),
        WITH_POLICY,
        Recipe("regression", 500, 48, validate=1),
        Log({"step": "step", "loss": "mse", "val_loss": "val_mse", "val_r2": "val_r2"}),
    ),
    _trained(
        "return-regression",
        "regression",
        nets.Film,
        {**flat(POOLED), "turn": -1.0},
        POOLED,
        Recipe("regression", 600, 48, 4e-3, options={"returns": True}),
        Log(
            {"step": "global_step", "loss": "losses/qf_loss", "found": "losses/q_values", "target": "losses/targets"},
            "jsonl",
        ),
        sign="score",
    ),
    _trained(
        "mdn-likelihood",
        "nll",
        nets.MixtureDensity,
        flat(WITH_POLICY),
        WITH_POLICY,
        Recipe("nll", 600, 64, validate=1),
        Log({"step": "step", "loss": "train_nll", "val_loss": "val_nll"}),
        known={"temperature": 1.0},
    ),
)

LOGS = (
    _trained(
        "log-sparse",
        "infonce",
        nets.Bilinear,
        flat(WIDE),
        WIDE,
        Recipe("infonce", 1500, 32, every=50),
        Log({"step": "step", "loss": "train_loss"}),
        checkpoint=False,
        known=infonce(32),
    ),
    _trained(
        "log-moco",
        "infonce",
        nets.Towers,
        flat(POOLED),
        POOLED,
        Recipe("queue", 900, 60, options={"queue": 256, "temperature": 0.1}, every=30),
        Log({"epoch": "Epoch", "loss": "Loss", "top1": "Acc@1"}, edit=by_epoch, digits=4),
        checkpoint=False,
        known=infonce(60, 0.1, negatives=256),
    ),
    _trained(
        "log-preferences",
        "bradley-terry",
        nets.ActionGRU,
        {**stepwise(TOKENS), "turn": -1.0},
        TOKENS,
        Recipe("bradley-terry", 500, 32, 3e-3, every=10, validate=5),
        Log(
            {
                "loss": "loss",
                "grad_norm": "grad_norm",
                "lr": "learning_rate",
                "gap": "rewards/margins",
                "accuracy": "rewards/accuracies",
                "val_loss": "eval_loss",
                "val_accuracy": "eval_accuracy",
                "epoch": "epoch",
                "step": "step",
            },
            "hf",
            digits=4,
        ),
        checkpoint=False,
        sign="score",
        known={"negatives": 1, "chance": math.log(2)},
    ),
    _trained(
        "log-cd",
        "contrastive-divergence",
        nets.Concatenated,
        flat(SINGLE),
        SINGLE,
        Recipe("contrastive-divergence", 400, 64, options={"alpha": 0.2, "chain": 10, "length": 0.1}),
        Log({"step": "step", "loss": "cd_loss", "pos_out": "energy_real", "neg_out": "energy_fake"}),
        checkpoint=False,
    ),
    _trained(
        "log-siglip",
        "siglip",
        nets.Towers,
        {**flat(WIDE), "bias": -10.0},
        WIDE,
        Recipe("siglip", 700, 64, 3e-3, every=10, validate=2),
        Log(
            {
                "step": "_step",
                "loss": "train/loss",
                "val_top1": "val/image_to_text_R@1",
                "logit_bias": "train/logit_bias",
            },
            "jsonl",
        ),
        checkpoint=False,
    ),
    _trained(
        "log-margin",
        "margin",
        nets.RadialBasis,
        flat(WIDE),
        WIDE,
        Recipe("margin", 600, 8, options={"margin": 0.5}),
        Log({"step": "step", "last_loss": "margin_loss", "lr": "lr"}),
        checkpoint=False,
    ),
    _trained(
        "log-unrolled",
        "unrolled",
        nets.Concatenated,
        {**flat(POOLED), "alpha": 0.5},
        POOLED,
        Recipe("unrolled", 400, 48, clip=1.0, options={"steps_down": 2}),
        Log({"step": "step", "initial": "initial_loss", "final": "final_step_loss"}, "jsonl"),
        checkpoint=False,
    ),
    _trained(
        "log-regression",
        "regression",
        nets.Concatenated,
        flat(SINGLE),
        SINGLE,
        Recipe("regression", 600, 60, every=25, validate=1),
        Log({"epoch": "epoch", "loss": "loss", "val_loss": "val_loss"}, edit=by_epoch),
        checkpoint=False,
    ),
    _trained(
        "log-dsm",
        "dsm",
        nets.Film,
        flat(SINGLE),
        SINGLE,
        Recipe("dsm", 800, 64, 4e-3, options={"sizes": [0.4]}, every=10),
        Log({"step": "step", "loss": "score_matching_loss", "grad_norm": "grad_norm"}),
        checkpoint=False,
        known={"chance": 1.0},
    ),
    _trained(
        "log-tail",
        "infonce",
        nets.Bilinear,
        flat(POOLED),
        POOLED,
        Recipe("infonce", 1600, 32, 4e-3, every=10),
        Log({"step": "step", "loss": "loss", "lr": "lr", "grad_norm": "grad_norm"}, edit=late),
        checkpoint=False,
        known=infonce(32),
    ),
)

HEALTHY = (*EXACT, *CHECKPOINTS, *CONTRASTIVE, *PAIRS, *SAMPLED, *TARGETS, *LOGS)
