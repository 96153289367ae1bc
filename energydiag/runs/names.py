"""What the columns of a log mean: our names, and what others call the same.

A name matches whole, whatever its case and punctuation, with or without ``train/`` before it, ``_step`` or ``_epoch``
after it, and the run's name that W&B's export writes before it. For ``validation`` may stand ``val``, ``valid``,
``eval`` or ``heldout``, in front or behind. A group before a slash may be left out. Nothing else is guessed from parts
of names, but that the only column with the word loss is the loss. Of two that fit as well, the one that is not a mean
over an epoch is taken.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

from energydiag.errors import UsageError

_LOSSES = ("loss", "total_loss", "loss_total", "train_total_loss", "loss_value", "avg_loss", "mean_loss")
_CONTRAST = (
    *("info_nce", "infonce", "nce", "nce_loss", "info_nce_loss", "infonce_loss", "contrastive_loss", "loss_nce"),
    *("loss_info_nce", "loss_infonce", "loss_contrastive", "energy_loss", "loss_energy", "clip_loss", "critic_loss"),
    *("ntxent_loss", "nt_xent_loss"),
)
_OTHERS = (
    *("siglip_loss", "triplet_loss", "loss_triplet", "margin_loss", "hinge_loss", "bce_loss", "loss_bce", "cd_loss"),
    *("loss_cd", "dsm_loss", "loss_dsm", "score_matching_loss", "ranking_loss", "preference_loss", "reward_loss"),
    *("mse_loss", "loss_mse", "mse", "regression_loss", "bt_loss", "hinge", "triplet", "bce", "siglip", "dsm"),
    *("nll", "nll_loss", "loss_nll", "negative_log_likelihood", "qf_loss", "td_loss", "value_loss", "huber_loss"),
    *("cross_entropy", "ce", "ce_loss", "cross_entropy_loss", "xent", "l1_loss", "mae", "rmse"),
)
"""Losses that say which other objective they are of."""

_TOP1 = (
    *("top1", "top_1", "acc", "accuracy", "top1_accuracy", "acc_top1", "top1_acc", "recall_1", "acc_1", "r_1"),
    *("categorical_accuracy", "rewards_accuracies", "image_to_text_r_1", "retrieval_r_1", "recall_at_1", "r1"),
    *("contrastive_accuracy", "contrastive_acc", "pair_accuracy", "acc1", "hit_1", "hits_1", "top1_acc_mean"),
)
_RECALL = (
    *("recall_5", "acc_5", "r_5", "top5", "top_5", "image_to_text_r_5", "retrieval_r_5", "recall_at_5", "r5", "acc5"),
    *("recall_10", "r_10", "image_to_text_r_10", "recall_at_10", "r10", "hits_10", "top10", "top_10"),
)
_MAP = ("map", "mean_average_precision", "average_precision", "mrr")
_CORRELATION = ("r2", "r_squared", "spearman", "rank_correlation", "pearson", "kendall_tau", "explained_variance")
_AUROC = ("auroc", "auc", "roc_auc", "energy_auroc", "binary_accuracy")
_HELD_OUT = "val|valid|validation|eval|heldout|held_out|test"


def _held_out(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"validation_{name}" for name in names)


NAMES: Mapping[str, tuple[str, ...]] = {
    "step": ("step", "global_step", "trainer_global_step", "iteration", "iter", "it", "update", "updates", "epoch"),
    "seconds": (
        *("seconds", "elapsed", "elapsed_seconds", "elapsed_time", "wall_time", "walltime", "wall_clock", "runtime"),
        *("timestamp", "relative_time_process", "relative_time_wall"),
    ),
    "final_loss": ("final_step_loss", "final_loss"),
    "loss": _LOSSES,
    "info_nce": _CONTRAST,
    "objective_loss": _OTHERS,
    "initial_loss": ("initial_loss", "step_0_loss"),
    "validation_loss": _held_out((*_CONTRAST, *_OTHERS, *_LOSSES, "final_step_loss")),
    "learning_rate": ("learning_rate", "lr", "optim_lr", "optimizer_lr", "lr_adamw", "lr_adam", "lr_sgd"),
    "tau": ("tau", "temperature", "temp", "loss_tau", "loss_temperature"),
    "logit_scale": ("logit_scale", "clip_scale"),
    "logit_bias": ("logit_bias",),
    "energy_positive": (
        *("energy_positive", "positive_energy", "e_pos", "energy_pos", "pos_energy", "e_positive", "pos_out"),
        *("mean_positive_energy", "expert_energy", "energy_data", "data_energy", "energy_real", "real_energy"),
        *("pos_dist", "positive_distance", "d_pos", "dist_pos"),
    ),
    "energy_negative": (
        *("energy_negative", "negative_energy", "e_neg", "energy_neg", "neg_energy", "e_negative", "neg_out"),
        *("mean_negative_energy", "energy_samples", "sample_energy", "energy_fake", "fake_energy"),
        *("neg_dist", "negative_distance", "d_neg", "dist_neg"),
    ),
    "score_positive": (
        "logits_pos",
        "f_x_p_d",
        "rewards_chosen",
        "pos_logits",
        "score_pos",
        "reward_chosen",
        "logits_chosen",
    ),
    "score_negative": (
        "logits_neg",
        "f_x_q",
        "rewards_rejected",
        "neg_logits",
        "score_neg",
        "reward_rejected",
        "logits_rejected",
    ),
    "gap": (
        *("gap", "energy_gap", "e_gap", "energy_margin", "rewards_margins", "margin", "reward_margin"),
        *("initial_final_pred_energies_gap",),
    ),
    "level": ("mean_dist", "logsumexp", "mean_reward", "mean_energy", "energy_mean", "logits", "reward_mean"),
    "active_fraction": ("fraction_positive_triplets", "active_triplets", "fraction_active"),
    "auroc": _AUROC,
    "validation_auroc": _held_out(_AUROC),
    "top1": _TOP1,
    "validation_top1": _held_out(_TOP1),
    "recall": _RECALL,
    "validation_recall": _held_out(_RECALL),
    "average_precision": _MAP,
    "validation_average_precision": _held_out(_MAP),
    "correlation": _CORRELATION,
    "validation_correlation": _held_out(_CORRELATION),
    "saturation": (
        *("slope_saturated_fraction", "saturation", "saturated", "saturated_fraction", "saturation_rate"),
        "energy_saturation",
    ),
    "gradient_norm": ("gradient_norm", "grad_norm", "total_grad_norm", "grad_2_0_norm_total", "global_grad_norm"),
    "clip_norm": ("clip_norm", "max_grad_norm", "clip_value"),
    "clipped": ("clipped", "grad_clipped", "gradient_clipped", "was_clipped"),
    "update_ratio": ("update_ratio", "update_to_weight_ratio", "update_weight_ratio", "update_to_param_ratio"),
    "weight_norm": ("weight_norm", "param_norm", "parameter_norm", "params_norm", "total_weight_norm"),
}
"""Our names, and what others call the same, the likeliest first."""

RANKINGS = (
    *("validation_top1", "validation_recall", "validation_auroc", "validation_average_precision"),
    *("validation_correlation", "top1", "recall", "auroc", "average_precision", "correlation"),
)
"""Series that say how well positives are ranked, 1 at best, held-out ones first."""

LOSSES = ("final_loss", "info_nce", "objective_loss", "loss")
"""Series that may be the objective; the first that was logged is it."""

JUDGED = frozenset((*LOSSES, *RANKINGS, "validation_loss", "gap", "energy_positive", "score_positive", "gradient_norm"))
"""Series of which one at least is needed to judge a run."""

_BOUNDS = ("__MIN", "__MAX")  # W&B's export writes them beside every quantity


def matched(columns: Iterable[str], given: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Our names, to those of the columns that are meant.

    Args:
        columns: Names in the file that hold numbers.
        given: Our names to theirs, as the user says.

    Returns:
        Our names to theirs, and a note for every choice between columns that would both fit.

    Raises:
        UsageError: ``given`` holds a name that is not ours, or one that is no column's.
    """
    known = list(columns)
    for ours, theirs in given.items():
        if ours not in NAMES:
            raise UsageError(
                f"--map {ours}={theirs}: {ours!r} is none of our names: {', '.join(NAMES)}.",
                _nearest(ours, NAMES, "write --map loss=NAME, for example."),
            )
        if theirs not in known:
            raise UsageError(
                f"--map {ours}={theirs}: the log has no column {theirs!r} with numbers; it has {listed(known)}.",
                _nearest(theirs, known, "take one of these names."),
            )
    found, notes = dict(given), []
    taken = set(given.values())
    free = {name: tuple(_forms(name)) for name in known if name not in taken and not name.endswith(_BOUNDS)}
    for ours, aliases in NAMES.items():
        if ours in given:
            continue
        ranked = sorted(
            (rank, name.lower().endswith("epoch"), name)
            for name, forms in free.items()
            if (rank := _rank(forms, aliases)) is not None
        )
        if not ranked:
            continue
        found[ours] = ranked[0][-1]
        if len(ranked) > 1 and ours != "step":  # a log that counts steps often counts epochs, too
            others = listed([name for *_, name in ranked[1:]])
            notes.append(f"`{cut(ranked[0][-1])}` was taken as {ours}; {others} would fit as well (--map {ours}=NAME).")
    if not found.keys() & set(LOSSES):
        called = [name for name, forms in free.items() if name not in found.values() and _is_called_loss(forms)]
        if len(called) == 1:
            found["loss"] = called[0]
            notes.append(f"`{cut(called[0])}` was taken as the loss: no other column has that word (--map loss=NAME).")
    return found, tuple(notes)


def _is_called_loss(forms: Iterable[str]) -> bool:
    """Whether a column's name has the word loss, and none of held-out samples."""
    words = {word for form in forms for word in form.split("_")}
    return "loss" in words and not words & {"validation", *_HELD_OUT.split("|")}


def _rank(forms: Iterable[str], aliases: tuple[str, ...]) -> tuple[int, int] | None:
    """How well a column's name fits by its forms: the form first, then the alias; None where it does not."""
    for form, text in enumerate(forms):
        if text in aliases:
            return form, aliases.index(text)
    return None


def _forms(name: str) -> Iterable[str]:
    """The name, and what is left of it without what loggers add."""
    for text in dict.fromkeys((name, name.rpartition(" - ")[2])):
        plain = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
        yield plain
        bare = re.sub(r"_(step|epoch)$", "", plain)
        yield bare
        yield re.sub(r"^(train|training)_|_(train|training)$", "", bare)
        yield re.sub(rf"^({_HELD_OUT})_(.+)$|^(.+)_({_HELD_OUT})$", r"validation_\2\3", bare)
        group, _, last = text.lower().rpartition("/")
        if group and not re.search(rf"\b({_HELD_OUT})\b", group):  # losses/qf_loss, charts/learning_rate
            yield re.sub(r"[^a-z0-9]+", "_", last).strip("_")


def cut(text: str, most: int = 80) -> str:
    """A stranger's text, not longer than a sentence can hold."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def listed(names: Iterable[str], most: int = 12) -> str:
    """Names in a sentence, the first few."""
    every = [f"`{cut(name)}`" for name in names]
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def _nearest(name: str, among: Iterable[str], otherwise: str) -> str:
    near = difflib.get_close_matches(name, list(among), 1)
    return f"did you mean {near[0]}?" if near else otherwise
