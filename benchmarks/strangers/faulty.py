"""The faulty cases: kinds of faults that happen to people, each put into a training of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from . import nets
from .case import Case, Facts, Log
from .fit import Recipe, Row
from .healthy import MANY, POOLED, SINGLE, TOKENS, WIDE, flat, infonce, late, stepwise
from .world import Dump, World

MASKED = World(dims=4, horizon=4, tokens=5, width=16, padded=True, episodes=28)
NOISY = World(dims=4, horizon=5, noise=0.6)
UNRELATED = World(dims=4, horizon=5, informative=False)

Holds = Callable[[Facts], bool]

# --- what right answers say

DEAD_CHECKPOINT = {
    "codes": ["ED106", "ED201", "ED301", "ED303", "ED306", "ED307", "ED501", "ED502", "ED509"],
    "words": [
        "dead",
        "collapse",
        "constant",
        "same energy",
        "the same whatever",
        "no separation",
        "no-separation",
        "untrained",
    ],
}
UNTRAINED_CHECKPOINT = {
    "codes": ["ED201", "ED309", "ED311"],
    "partly": ["ED305", "ED310", "ED501", "ED502", "ED303", "ED203", "ED306"],
    "words": ["untrained", "never trained", "as drawn", "no separation", "no-separation", "not learn", "never reached"],
}
AT_CHANCE_LOG = {
    "codes": ["ED701", "ED711"],
    "partly": ["ED709", "ED719", "ED702"],
    "words": ["chance", "frozen", "flat", "not learn", "does not fall", "nothing moves", "collapse"],
    "open": ["batch size", "negatives", "objective", "chance"],
}
OUTGROWN_CHECKPOINT = {
    "codes": ["ED107", "ED108", "ED302", "ED308"],
    "partly": ["ED201", "ED401", "ED404", "ED501", "ED205", "ED102", "ED301", "ED303"],
    "words": ["diverg", "explo", "runaway", "run away", "drift", "far larger", "thrown away"],
}
INVISIBLE = {"codes": [], "words": [], "invisible": True}


def _faulty(
    name: str,
    objective: str,
    net: type[nn.Module],
    arguments: Mapping[str, Any],
    world: World,
    recipe: Recipe,
    fault: str,
    holds: Holds,
    log: Log | None = None,
    *,
    checkpoint: Mapping[str, Any] | None = None,
    of_log: Mapping[str, Any] | None = None,
    **others: Any,
) -> Case:
    said = {"checkpoint": checkpoint, "of_log": of_log, "fault": fault, "holds": holds}
    return Case(name, objective, net, arguments, world, recipe, log, **said, **others)


def _at_chance(chance: float, within: float = 0.03) -> Holds:
    """The log ends at chance, and the model, where there is one, ranks by chance."""

    def holds(facts: Facts) -> bool:
        return abs(facts["last_loss"] - chance) < within * chance and abs(facts.get("auroc", 0.5) - 0.5) < 0.1

    return holds


# --- faults


def _dead(module: nn.Module) -> None:
    """Biases so low that no hidden unit is ever on."""
    for layer in list(module.energy)[:-1]:
        if isinstance(layer, nn.Linear):
            layer.bias.data.fill_(-12.0)


def _raised(module: nn.Module) -> None:
    module.energy[-1].bias.data.fill_(40.0)


def _same_embedding(module: nn.Module) -> None:
    """Last projections that start at zero, with a bias: every input gets the same embedding."""
    for tower in (module.context, module.action):
        tower[-1].weight.data.zero_()
        tower[-1].bias.data.fill_(0.5)


def _hidden_somewhere(training: Dump, heldout: Dump) -> None:
    for dump in (training, heldout):
        dump["pad_mask"][:, -1] = True


def _fixed_pairs(training: Dump, heldout: Dump) -> None:  # noqa: ARG001
    """Every chosen action keeps the same rejected one."""
    training["rejected"] = training["actions"].roll(37, 0)


def _pixels(training: Dump, heldout: Dump) -> None:
    """Training saw contexts in 0…1, the dump has them in 0…255."""
    training["hidden"] = (training["hidden"] + 1) / 2
    heldout["hidden"] = (heldout["hidden"] + 1) / 2 * 255


def _loss_ends_early(rows: list[Row]) -> list[Row]:
    third = len(rows) // 3
    return [row if number < third else {k: v for k, v in row.items() if k != "loss"} for number, row in enumerate(rows)]


def _cut(end: int) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: rows[:end]


HF = {"loss": "loss", "grad_norm": "grad_norm", "lr": "learning_rate", "epoch": "epoch", "step": "step"}
HF_EVAL = {**HF, "val_loss": "eval_loss", "val_accuracy": "eval_accuracy"}
PREFERENCES = {"temperature": 1.0, "negatives": 1, "chance": math.log(2)}

NOT_LEARNING = (
    _faulty(
        "dead-relu",
        "infonce",
        nets.Concatenated,
        {**flat(POOLED), "activation": "ReLU"},
        POOLED,
        Recipe("infonce", 200, 32),
        "every ReLU unit is off for every sample: no gradient reaches any weight",
        _at_chance(math.log(32), 1e-4),
        Log({"step": "step", "loss": "train_loss", "top1": "train_acc", "lr": "lr"}),
        checkpoint=DEAD_CHECKPOINT,
        of_log={**AT_CHANCE_LOG, "words": [*AT_CHANCE_LOG["words"], "dead"]},
        known=infonce(32),
        start=_dead,
    ),
    _faulty(
        "zero-rate",
        "infonce",
        nets.ActionGRU,
        stepwise(POOLED),
        POOLED,
        Recipe("infonce", 150, 32, schedule="zero"),
        "the learning rate is 0 all the time, since the schedule is never stepped",
        _at_chance(math.log(32)),
        Log({"step": "step", "loss": "loss", "lr": "lr", "grad_norm": "grad_norm"}),
        checkpoint=UNTRAINED_CHECKPOINT,
        of_log={
            **AT_CHANCE_LOG,
            "codes": ["ED701", "ED711", "ED709", "ED720"],
            "partly": ["ED719"],
            "words": [*AT_CHANCE_LOG["words"], "learning rate", "warm-up"],
        },
        known=infonce(32),
    ),
    _faulty(
        "detached-towers",
        "infonce",
        nets.Towers,
        flat(TOKENS),
        TOKENS,
        Recipe("infonce", 400, 48, 1e-2, options={"detached": True}),
        "features are detached from the graph, so the scale alone learns, and learns to vanish",
        lambda facts: abs(facts["last_loss"] - math.log(48)) < 0.05 and abs(facts["auroc"] - 0.5) < 0.15,
        Log(
            {
                "step": "_step",
                "loss": "train/contrastive_loss",
                "logit_scale": "train/logit_scale",
                "top1": "train/acc",
            },
            "jsonl",
        ),
        checkpoint=UNTRAINED_CHECKPOINT,
        of_log={**AT_CHANCE_LOG, "words": [*AT_CHANCE_LOG["words"], "scale"]},
        known=infonce(48),
    ),
    _faulty(
        "zero-gradient",
        "infonce",
        nets.Concatenated,
        flat(POOLED),
        POOLED,
        Recipe("infonce", 300, 32, options={"cut_off": True}),
        "the loss is cut off from the weights: the gradient is exactly 0 at every step",
        lambda facts: facts["longest_gradient"] == 0 and abs(facts["last_loss"] - math.log(32)) < 0.1,
        Log({"step": "step", "loss": "loss", "grad_norm": "grad_norm", "lr": "lr"}),
        of_log={
            "codes": ["ED711", "ED701"],
            "partly": ["ED709"],
            "words": ["gradient", "frozen", "nothing moves", "chance", "detached", "cut off"],
        },
        known=infonce(32),
    ),
    _faulty(
        "constant-loss",
        "infonce",
        nets.Film,
        {**flat(POOLED), "gate": 0.0},
        POOLED,
        Recipe("infonce", 250, 32),
        "energies do not depend on the action: the loss is the same number in every row",
        lambda facts: abs(facts["last_loss"] - math.log(32)) < 1e-4,
        Log({"step": "step", "loss": "loss"}, digits=4),
        of_log={
            "codes": ["ED711", "ED701"],
            "words": ["chance", "frozen", "flat", "constant", "same number", "nothing moves", "does not move"],
        },
        known=infonce(32),
    ),
    _faulty(
        "tail-at-chance",
        "infonce",
        nets.Concatenated,
        {**flat(WIDE), "gain": 0.0},
        WIDE,
        Recipe("infonce", 300, 64, 1e-3, every=4),
        "the model does not see contexts and learned nothing; only the tail of the log was kept",
        lambda facts: abs(facts["last_loss"] - math.log(64)) < 0.08,
        Log({"step": "step", "loss": "loss", "grad_norm": "grad_norm", "lr": "lr"}, edit=late),
        of_log=AT_CHANCE_LOG,
        known=infonce(64),
    ),
    _faulty(
        "action-ignored",
        "infonce",
        nets.Film,
        {**flat(MANY), "gate": 0.0},
        MANY,
        Recipe("infonce", 150, 32),
        "the action branch is multiplied by 0",
        _at_chance(math.log(32), 1e-4),
        Log({"step": "step", "loss": "info_nce", "grad_norm": "gradient_norm"}, "jsonl"),
        checkpoint={
            "codes": ["ED502", "ED303"],
            "partly": ["ED201", "ED301", "ED503", "ED501", "ED309"],
            "words": [
                "action ignored",
                "action-ignored",
                "whatever the action",
                "not depend on the action",
                "constant",
            ],
        },
        of_log=AT_CHANCE_LOG,
        known=infonce(32),
    ),
    _faulty(
        "sigmoid-stuck",
        "infonce",
        nets.Concatenated,
        {**flat(POOLED), "head": "sigmoid"},
        POOLED,
        Recipe("infonce", 150, 32),
        "raw values of 40 under a sigmoid: energies are 1 and slopes are exactly 0",
        lambda facts: facts["longest_gradient"] == 0 and facts["energy_std"] == 0,
        Log({"step": "step", "loss": "loss", "top1": "top1", "grad_norm": "grad_norm"}),
        checkpoint={
            "codes": ["ED102", "ED101", "ED301", "ED303", "ED502", "ED201"],
            "words": ["saturat", "dead", "constant", "same energy", "slope", "vanish"],
        },
        of_log={
            **AT_CHANCE_LOG,
            "codes": ["ED701", "ED711", "ED702"],
            "partly": ["ED709"],
            "words": [*AT_CHANCE_LOG["words"], "gradient", "saturat", "floor"],
        },
        known=infonce(32),
        start=_raised,
    ),
    _faulty(
        "no-negatives",
        "infonce",
        nets.Film,
        flat(POOLED),
        POOLED,
        Recipe("infonce", 150, 32, options={"alone": True}),
        "the softmax runs over one candidate: loss and gradient are 0 from the first step",
        lambda facts: facts["highest_loss"] == 0 and abs(facts["auroc"] - 0.5) < 0.15,
        Log({"step": "step", "loss": "loss", "top1": "accuracy", "grad_norm": "grad_norm"}),
        checkpoint=UNTRAINED_CHECKPOINT,
        of_log={
            "codes": ["ED711"],
            "partly": ["ED709", "ED712"],
            "words": [
                "negative",
                "frozen",
                "nothing moves",
                "zero from the first",
                "0 from the first",
                "no candidates",
            ],
            "open": ["negatives", "objective", "batch size"],
        },
        known={"temperature": 1.0, "negatives": 0},
    ),
    _faulty(
        "decayed-weights",
        "infonce",
        nets.Concatenated,
        flat(POOLED),
        POOLED,
        Recipe("infonce", 400, 32, 5e-3, decay=3.0, schedule="constant"),
        "weight decay of 3 in the gradient shrinks all weights to nothing",
        lambda facts: (
            facts["last_weight_norm"] < 0.3 * facts["first_weight_norm"]
            and abs(facts["last_loss"] - math.log(32)) < 0.02
        ),
        Log({"step": "step", "loss": "loss", "weight_norm": "weight_norm", "grad_norm": "grad_norm"}),
        checkpoint={
            "codes": ["ED307", "ED310", "ED201", "ED301", "ED303", "ED502", "ED501", "ED509"],
            "partly": ["ED305", "ED306"],
            "words": ["vanish", "weight decay", "nearly zero", "shr", "constant", "collapse"],
        },
        of_log={
            **AT_CHANCE_LOG,
            "codes": ["ED716", "ED701", "ED711"],
            "words": [*AT_CHANCE_LOG["words"], "weight decay", "shr", "weights"],
        },
        known=infonce(32),
    ),
)

COLLAPSED = {
    "codes": ["ED201", "ED306", "ED502", "ED501", "ED301", "ED303", "ED307"],
    "partly": ["ED106", "ED308", "ED309"],
    "words": [
        "collapse",
        "constant",
        "same energy",
        "same embedding",
        "the same whatever",
        "no separation",
        "no-separation",
        "dead",
    ],
}

OTHER_LOSSES = (
    _faulty(
        "triplet-at-margin",
        "triplet",
        nets.Towers,
        {**flat(WIDE), "form": "distance", "activation": "ReLU"},
        WIDE,
        Recipe("triplet", 300, 48, 5e-2, options={"margin": 0.3, "hard_from": 0}, schedule="constant", every=8),
        "all embeddings are the same: the loss is the margin",
        _at_chance(0.3, 0.02),
        Log(
            {
                "epoch": "epoch",
                "loss": "loss",
                "positive_triplets": "fraction_positive_triplets",
                "mean_dist": "mean_dist",
            }
        ),
        checkpoint=COLLAPSED,
        of_log={
            "codes": ["ED701", "ED711"],
            "partly": ["ED709"],
            "words": ["margin", "collapse", "chance", "flat", "same embedding"],
            "open": ["objective", "margin", "ranking", "separation"],
        },
        known={"chance": 0.3, "margin": 0.3},
    ),
    _faulty(
        "triplet-at-log2",
        "triplet",
        nets.Towers,
        {**flat(POOLED), "form": "square", "activation": "ReLU"},
        POOLED,
        Recipe("triplet", 400, 32, 1e-2, options={"soft": True, "hard_from": 0}, schedule="constant"),
        "all embeddings are the same: the soft margin's loss is log 2",
        _at_chance(math.log(2), 0.01),
        Log({"step": "step", "loss": "triplet_loss", "mean_dist": "mean_distance"}, "jsonl"),
        checkpoint=COLLAPSED,
        of_log={
            "codes": ["ED701", "ED711"],
            "partly": ["ED709"],
            "words": ["log 2", "ln 2", "margin", "collapse", "chance", "flat", "same embedding"],
            "open": ["objective", "margin", "ranking", "separation"],
        },
        known={"chance": math.log(2)},
    ),
    _faulty(
        "siglip-bias-only",
        "siglip",
        nets.Towers,
        {**flat(POOLED), "bias": -10.0},
        POOLED,
        Recipe("siglip", 400, 48, 5e-2, only=("logit_",), validate=1, every=8),
        "the optimizer was given scale and bias alone: the loss falls to the best bias's, no feature learns",
        lambda facts: (
            abs(facts["last_loss"] - math.log(48) - 47 * math.log(48 / 47)) < 0.2 and facts["last_val_top1"] < 0.1
        ),
        Log(
            {
                "step": "_step",
                "loss": "train/loss",
                "logit_scale": "train/logit_scale",
                "logit_bias": "train/logit_bias",
                "val_top1": "val/image_to_text_R@1",
            },
            "jsonl",
        ),
        checkpoint=UNTRAINED_CHECKPOINT,
        of_log={
            "codes": ["ED701", "ED711"],
            "words": ["bias", "recall", "retrieval", "chance", "top-1", "not learn"],
            "open": ["objective", "recall", "R@1", "ranking", "top-1", "siglip"],
        },
        known={"chance": math.log(48) + 47 * math.log(48 / 47)},
    ),
    _faulty(
        "cd-diverged",
        "contrastive-divergence",
        nets.Concatenated,
        flat(SINGLE),
        SINGLE,
        Recipe("contrastive-divergence", 500, 48, 2e-2, options={"alpha": 0.0, "chain": 3}, schedule="constant"),
        "nothing holds the energies, and chains are too short: they run away",
        lambda facts: facts["last_loss"] < -1e4 and facts["finite_share"] == 1,
        Log({"step": "iter", "loss": "loss", "pos_out": "pos_out", "neg_out": "neg_out"}),
        checkpoint=OUTGROWN_CHECKPOINT,
        of_log={
            "codes": ["ED705", "ED707", "ED710"],
            "words": ["diverg", "drift", "explo", "grow", "runaway", "run away", "without end"],
            "open": ["objective"],
        },
        known={"temperature": 1.0},
    ),
    _faulty(
        "unrolled-no-step",
        "unrolled",
        nets.Concatenated,
        flat(POOLED),
        POOLED,
        Recipe("unrolled", 200, 48, options={"steps_down": 3, "rate": 0.05, "detached": True}),
        "steps are detached from the graph, so the energy learns nothing: the loss after K steps is the loss before",
        lambda facts: facts["last_loss"] > 0.95 * facts["last_initial"] and abs(facts["auroc"] - 0.5) < 0.2,
        Log(
            {
                "step": "step",
                "initial": "initial_loss",
                "final": "final_step_loss",
                "energy_fall": "initial_final_pred_energies_gap",
            }
        ),
        checkpoint={
            **UNTRAINED_CHECKPOINT,
            "codes": ["ED309", "ED311", "ED201", "ED402", "ED401"],
            "partly": ["ED303", "ED305", "ED310", "ED501", "ED502", "ED203", "ED306"],
        },
        of_log={
            "codes": ["ED701", "ED711"],
            "partly": ["ED709"],
            "words": ["initial", "step 0", "not learn", "flat", "chance", "does not fall", "frozen", "nothing moves"],
            "open": ["objective", "initial", "chance"],
        },
    ),
    _faulty(
        "dsm-relu",
        "dsm",
        nets.Concatenated,
        {**flat(POOLED), "activation": "ReLU", "layers": 1, "width": 24, "squares": False},
        POOLED,
        Recipe("dsm", 400, 64, 1e-3, options={"sizes": [0.3]}),
        "a ReLU network has no second derivative: the score that it can learn is piecewise constant",
        lambda facts: facts["last_loss"] > 0.85,
        Log({"step": "step", "loss": "dsm_loss", "grad_norm": "grad_norm"}),
        checkpoint={
            "codes": ["ED402", "ED401", "ED303", "ED201", "ED502"],
            "partly": ["ED404", "ED403", "ED306", "ED203", "ED106", "ED309", "ED501", "ED305"],
            "words": ["relu", "second derivative", "piecewise", "misaligned", "score", "curv"],
        },
        of_log={
            "codes": ["ED701", "ED711", "ED709"],
            "words": ["chance", "second derivative", "relu", "not learn", "does not fall", "flat", "hardly"],
            "open": ["objective", "chance", "noise"],
        },
        known={"chance": 1.0},
    ),
    _faulty(
        "regression-constant",
        "regression",
        nets.Concatenated,
        {**flat(POOLED), "activation": "ReLU"},
        POOLED,
        Recipe("regression", 500, 48, 6e-2, options={"returns": True}),
        "hidden units are dead: the mean of the targets is all that is learned",
        lambda facts: abs(facts["last_r2"]) < 0.1 and facts["energy_std"] == 0,
        Log({"step": "step", "loss": "mse", "r2": "r2", "target": "mean_target"}),
        checkpoint=DEAD_CHECKPOINT,
        of_log={
            "codes": ["ED701", "ED711"],
            "partly": ["ED709"],
            "words": ["variance", "mean of", "constant", "r2", "r²", "not learn", "flat"],
            "open": ["objective", "variance", "target"],
        },
        start=_dead,
    ),
    _faulty(
        "preferences-coin",
        "bradley-terry",
        nets.ActionGRU,
        {**stepwise(POOLED), "turn": -1.0},
        POOLED,
        Recipe("bradley-terry", 300, 48, 1e-3, options={"coin": True}, every=10, validate=3),
        "half of the pairs are labeled the wrong way round",
        lambda facts: abs(facts["last_loss"] - math.log(2)) < 0.03 and abs(facts["last_accuracy"] - 0.5) < 0.2,
        Log(HF_EVAL, "hf", digits=4),
        checkpoint={
            "codes": ["ED201"],
            "partly": ["ED501", "ED502", "ED303", "ED309", "ED310", "ED203", "ED202", "ED306", "ED207"],
            "words": ["no separation", "no-separation", "chance", "not learn", "label"],
        },
        of_log={**AT_CHANCE_LOG, "words": [*AT_CHANCE_LOG["words"], "log 2", "ln 2", "accuracy", "label", "coin"]},
        sign="score",
        known=PREFERENCES,
    ),
    _faulty(
        "queue-collapse",
        "infonce",
        nets.Towers,
        flat(POOLED),
        POOLED,
        Recipe("queue", 200, 48, options={"queue": 256, "temperature": 0.1, "full_of_keys": True}),
        "the last projections start at zero: all embeddings are the same, and stay so",
        _at_chance(math.log(257), 0.001),
        Log({"epoch": "Epoch", "step": "Iter", "loss": "Loss", "top1": "Acc@1", "top5": "Acc@5"}),
        checkpoint=COLLAPSED,
        of_log={**AT_CHANCE_LOG, "open": [*AT_CHANCE_LOG["open"], "queue"]},
        known=infonce(48, negatives=256),
        start=_same_embedding,
    ),
)

NUMBERS = (
    _faulty(
        "overflow-nan",
        "infonce",
        nets.Concatenated,
        flat(POOLED),
        POOLED,
        Recipe("infonce", 300, 32, options={"overflow_at": 163}),
        "the energies of one batch overflow: loss and weights are NaN from then on",
        lambda facts: facts["finite_share"] == 0 and math.isnan(facts["last_loss"]) and facts["first_loss"] < 10,
        Log({"step": "step", "loss": "loss", "top1": "accuracy", "lr": "lr"}),
        checkpoint={
            "codes": ["ED104"],
            "words": ["nan", "non-finite", "nonfinite", "not finite", "infinit"],
            "refusal": ["nan", "finite"],
        },
        of_log={"codes": ["ED703"], "words": ["nan", "non-finite", "nonfinite", "not finite", "infinit"]},
        known=infonce(32),
    ),
    _faulty(
        "nan-filtered",
        "bradley-terry",
        nets.ActionGRU,
        {**stepwise(POOLED), "turn": -1.0},
        POOLED,
        Recipe("bradley-terry", 200, 32, options={"overflow_at": 61}, every=5),
        "one overflow made all weights NaN; the trainer writes a loss of 0.0 for NaN",
        lambda facts: facts["finite_share"] == 0,
        Log(HF, "hf", digits=4, zero_for_nan=True),
        checkpoint={
            "codes": ["ED104"],
            "words": ["nan", "non-finite", "nonfinite", "not finite", "infinit"],
            "refusal": ["nan", "finite"],
        },
        of_log={"codes": ["ED703"], "words": ["nan", "non-finite", "nonfinite", "not finite"]},
        sign="score",
        known=PREFERENCES,
    ),
    _faulty(
        "gradient-explosion",
        "infonce",
        nets.StepExperts,
        {**stepwise(WIDE), "horizon": WIDE.horizon},
        WIDE,
        Recipe("infonce", 300, 24, 5e-4, schedule="growing"),
        "gradients explode under a growing learning rate and without clipping",
        lambda facts: facts["longest_gradient"] > 1e4 and facts["last_gradient"] > 1e3 and facts["finite_share"] == 1,
        Log({"step": "step", "loss": "loss", "grad_norm": "grad_norm"}),
        checkpoint=OUTGROWN_CHECKPOINT,
        of_log={
            "codes": ["ED707", "ED710"],
            "partly": ["ED704", "ED715", "ED718", "ED720", "ED717"],
            "words": ["explo", "learning rate", "diverg", "gradient"],
        },
        known=infonce(32),
    ),
    _faulty(
        "rate-too-high",
        "infonce",
        nets.Film,
        flat(POOLED),
        POOLED,
        Recipe("infonce", 200, 32, 1.0, schedule="constant"),
        "a learning rate of 1: the loss rises far above chance",
        lambda facts: facts["last_loss"] > 10 * math.log(32) and facts["finite_share"] == 1,
        Log({"step": "step", "loss": "loss", "lr": "lr", "top1": "acc"}, "jsonl"),
        checkpoint=OUTGROWN_CHECKPOINT,
        of_log={
            "codes": ["ED710"],
            "partly": ["ED707", "ED704", "ED715", "ED718", "ED720"],
            "words": ["learning rate", "rises", "diverg", "above chance"],
        },
        known=infonce(32),
    ),
    _faulty(
        "gradients-accumulate",
        "infonce",
        nets.Concatenated,
        flat(POOLED),
        POOLED,
        Recipe("infonce", 200, 32, 1e-4, forgets=False, optimizer="sgd", schedule="constant", every=2),
        "gradients are never set to zero between steps",
        lambda facts: facts["last_gradient"] > 5 * facts["first_gradient"],
        Log({"step": "step", "loss": "loss", "grad_norm": "grad_norm"}),
        of_log={
            "codes": ["ED717"],
            "partly": ["ED707", "ED710", "ED709", "ED701", "ED711"],
            "words": ["accumulat", "zero_grad", "set to zero"],
        },
        known=infonce(32),
    ),
)

DATA = (
    _faulty(
        "series-ends-early",
        "infonce",
        nets.Bilinear,
        flat(POOLED),
        POOLED,
        Recipe("infonce", 300, 32, 3e-4, schedule="constant", every=4),
        "the loss was logged for the first third of the run only: what became of it is not known",
        lambda facts: facts["rows"] > 60,
        Log({"step": "step", "loss": "loss", "lr": "lr"}, edit=_loss_ends_early),
        of_log={
            "codes": ["ED712"],
            "words": ["ends early", "ends before", "ends at step", "stops", "missing", "empty", "blank", "not logged"],
            "open": ["loss", "series", "end", "rows", "steps"],
        },
        known=infonce(32),
    ),
    _faulty(
        "labels-off-by-one",
        "infonce",
        nets.Bilinear,
        flat(MANY),
        MANY,
        Recipe("infonce", 500, 32, options={"shifted": 1}),
        "the label of row i is i + 1: another sample's action counts as right, the own one as wrong",
        lambda facts: facts["last_loss"] > math.log(31) - 0.1 and facts["auroc"] < 0.3,
        Log({"step": "step", "loss": "loss", "top1": "top1", "lr": "lr"}),
        checkpoint={
            "codes": ["ED202"],
            "partly": ["ED201", "ED203", "ED402", "ED404", "ED401"],
            "words": ["inverted", "label", "wrong way", "higher energy"],
        },
        of_log={**AT_CHANCE_LOG, "words": [*AT_CHANCE_LOG["words"], "label", "top-1"]},
        known=infonce(32),
    ),
    _faulty(
        "memorized",
        "bradley-terry",
        nets.Concatenated,
        flat(UNRELATED),
        UNRELATED,
        Recipe("bradley-terry", 600, 32, 2e-3, rows=96, every=10, validate=2),
        "contexts do not tell the action; 96 pairs are memorized",
        lambda facts: facts["last_loss"] < 0.1 and facts["last_val_accuracy"] < 0.65 and facts["auroc"] < 0.6,
        Log(HF_EVAL, "hf", digits=4),
        checkpoint={
            "codes": ["ED201"],
            "partly": ["ED501", "ED203", "ED207"],
            "words": [
                "memor",
                "overfit",
                "no separation",
                "no-separation",
                "not predict",
                "no information",
                "not tell",
            ],
            "open": ["training", "context"],
        },
        of_log={"codes": ["ED708", "ED714"], "words": ["memor", "overfit", "held-out", "validation"]},
        training=_fixed_pairs,
        known=PREFERENCES,
    ),
    _faulty(
        "context-zeroed",
        "bce",
        nets.Concatenated,
        {**flat(MANY), "gain": 0.0},
        MANY,
        Recipe("bce", 400, 64, options={"noise_only": True, "negatives": 2}),
        "contexts are multiplied by 0, and negatives of pure noise do not show it",
        lambda facts: facts["last_loss"] < 0.45 and abs(facts["auroc"] - 0.5) < 0.05,
        Log({"step": "step", "loss": "bce_loss", "accuracy": "accuracy"}),
        checkpoint={
            "codes": ["ED501", "ED509", "ED207"],
            "partly": ["ED201"],
            "words": [
                "context ignored",
                "context-ignored",
                "whatever the context",
                "not depend on the context",
                "context",
            ],
        },
        of_log=INVISIBLE,
        known={"negatives": 2, "chance": math.log(2)},
    ),
    _faulty(
        "sign-flipped",
        "infonce",
        nets.LearnedPrecision,
        flat(POOLED),
        POOLED,
        Recipe("infonce", 300, 32),
        "the model is used with minus the energy that it was trained with",
        lambda facts: facts["auroc"] < 0.1,
        checkpoint={"codes": ["ED202"], "partly": ["ED203"], "words": ["inverted", "sign", "wrong way"]},
        known=infonce(32),
        used_as={"turn": -1.0},
    ),
    _faulty(
        "mask-inverted",
        "infonce",
        nets.CrossAttention,
        {"width": MASKED.width, "dims": MASKED.dims, "tokens": MASKED.tokens, "horizon": MASKED.horizon},
        MASKED,
        Recipe("infonce", 600, 20, 4e-3),
        "the model inverts the mask that the dump has: it attends to what is hidden alone",
        lambda facts: facts["last_loss"] < 0.6 and facts["auroc"] < 0.7,
        Log({"step": "step", "loss": "train_loss", "top1": "train_top1"}),
        checkpoint={
            "codes": ["ED505", "ED504"],
            "partly": ["ED201", "ED501", "ED509"],
            "words": ["mask", "padding", "hidden token", "hidden context"],
        },
        of_log=INVISIBLE,
        known=infonce(20),
        training=_hidden_somewhere,
        used_as={"inverted": True},
    ),
    _faulty(
        "temperature-high",
        "infonce",
        nets.Concatenated,
        {**flat(POOLED), "head": "tanh"},
        POOLED,
        Recipe("infonce", 700, 32, 2e-3, options={"temperature": 20.0}, every=7),
        "τ = 20 where energies span 2: the loss cannot fall below 3.37, chance is 3.47",
        lambda facts: facts["last_loss"] > 3.35 and facts["auroc"] > 0.9,
        Log({"step": "step", "loss": "loss", "top1": "top1"}),
        checkpoint={
            "codes": ["ED204", "ED103"],
            "partly": ["ED101"],
            "words": ["temperature", "floor", "bounded", "range", "nearly uniform"],
        },
        of_log={
            "codes": ["ED702", "ED204"],
            "partly": ["ED701", "ED709"],
            "words": ["temperature", "floor", "bounded", "range"],
            "open": ["temperature", "range", "bound", "head", "top-1"],
        },
        known=infonce(32, 20.0),
    ),
    _faulty(
        "cosine-unscaled",
        "infonce",
        nets.Towers,
        {**flat(WIDE), "scale": 1.0},
        WIDE,
        Recipe("infonce", 500, 64, only=("context", "action"), every=10),
        "cosines without a scale at τ = 1: the floor of the loss is 3.17, chance 4.16",
        lambda facts: facts["last_loss"] > 3.1 and facts["auroc"] > 0.9,
        Log({"step": "step", "loss": "contrastive_loss", "top1": "accuracy"}, "jsonl"),
        checkpoint={
            "codes": ["ED204", "ED103"],
            "partly": ["ED205"],
            "words": ["temperature", "floor", "bounded", "cosine", "scale", "nearly uniform"],
        },
        of_log={
            "codes": ["ED702", "ED204"],
            "partly": ["ED701"],
            "words": ["temperature", "floor", "bounded", "cosine", "scale"],
            "open": ["temperature", "range", "bound", "head", "scale"],
        },
        known=infonce(64),
    ),
    _faulty(
        "batch-norm",
        "infonce",
        nets.Normalized,
        flat(POOLED),
        POOLED,
        Recipe("infonce", 400, 24, 3e-3),
        "batch norm without averages of its own: an energy depends on the rest of the batch",
        lambda facts: facts["last_loss"] < 1 and facts["batch_dependence"] > 0.5,
        Log({"step": "step", "loss": "train_loss", "top1": "train_acc"}),
        checkpoint={
            "codes": [],
            "partly": ["ED506", "ED201", "ED203", "ED507"],
            "words": [
                "rest of the batch",
                "other samples",
                "batch-coupled",
                "across the batch",
                "batch norm",
                "batch size",
                "coupled",
            ],
            "notes": True,
        },
        of_log=INVISIBLE,
        known=infonce(24),
    ),
    _faulty(
        "overfitting",
        "infonce",
        nets.Concatenated,
        {**flat(NOISY), "width": 192, "squares": False},
        NOISY,
        Recipe("infonce", 600, 32, 2e-3, rows=64, schedule="constant", every=10, validate=1),
        "64 training rows for a wide network: the held-out loss rises above chance",
        lambda facts: (
            facts["last_loss"] < 0.1 and facts["last_val_loss"] > max(math.log(32), 1.3 * facts["lowest_val_loss"])
        ),
        Log({"step": "step", "loss": "train/loss", "val_loss": "val/loss"}),
        checkpoint={
            "codes": ["ED205", "ED108"],
            "partly": ["ED201", "ED203", "ED206", "ED402", "ED401", "ED404", "ED403", "ED603"],
            "words": ["overfit", "memor", "no separation", "no-separation", "too sure", "overconfident"],
            "open": ["training", "overfit"],
        },
        of_log={"codes": ["ED708", "ED714"], "words": ["overfit", "memor", "held-out", "validation"]},
        known=infonce(32),
    ),
    _faulty(
        "contexts-unscaled",
        "infonce",
        nets.Concatenated,
        flat(POOLED),
        POOLED,
        Recipe("infonce", 400, 32),
        "contexts of the dump lie in 0…255, those of the training in 0…1",
        lambda facts: facts["last_loss"] < 1 and facts["auroc"] < 0.75,
        checkpoint={
            "codes": ["ED607", "ED105"],
            "partly": ["ED201", "ED501", "ED604", "ED206"],
            "words": ["scale", "normaliz", "saturat", "too large", "larger than"],
        },
        known=infonce(32),
        training=_pixels,
    ),
)

FAULTY = (*NOT_LEARNING, *OTHER_LOSSES, *NUMBERS, *DATA)
