"""What the columns of a log mean: our names, and what others call the same.

A name matches whole, whatever its case and punctuation, with or without ``train/`` before it, ``_step`` or ``_epoch``
after it, and the run's name that W&B's export writes before it. For ``validation`` may stand ``val``, ``valid``,
``eval`` or ``heldout``, in front or behind. Nothing is guessed from parts of names. Of two that fit as well, the one
that is not a mean over an epoch is taken.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

from energydiag.errors import UsageError

_LOSSES = ("loss", "total_loss", "loss_total")
_CONTRAST: tuple[str, ...] = (
    "info_nce",
    "infonce",
    "nce",
    "nce_loss",
    "info_nce_loss",
    "infonce_loss",
    "contrastive_loss",
    "loss_nce",
)
_CONTRAST += ("loss_info_nce", "loss_infonce", "loss_contrastive", "energy_loss", "loss_energy")
_HELD_OUT = "val|valid|validation|eval|heldout|held_out"

NAMES: Mapping[str, tuple[str, ...]] = {
    "step": ("step", "global_step", "trainer_global_step", "iteration", "iter", "it", "update", "updates", "epoch"),
    "seconds": (
        *("seconds", "elapsed", "elapsed_seconds", "elapsed_time", "wall_time", "walltime", "wall_clock", "runtime"),
        *("timestamp", "relative_time_process", "relative_time_wall"),
    ),
    "loss": _LOSSES,
    "info_nce": _CONTRAST,
    "validation_loss": tuple(f"validation_{name}" for name in (*_CONTRAST, *_LOSSES)),
    "learning_rate": ("learning_rate", "lr", "optim_lr", "optimizer_lr", "lr_adamw", "lr_adam", "lr_sgd"),
    "tau": ("tau", "temperature", "temp", "loss_tau", "loss_temperature"),
    "energy_positive": (
        *("energy_positive", "positive_energy", "e_pos", "energy_pos", "pos_energy", "e_positive"),
        *("mean_positive_energy", "expert_energy"),
    ),
    "energy_negative": (
        *("energy_negative", "negative_energy", "e_neg", "energy_neg", "neg_energy", "e_negative"),
        "mean_negative_energy",
    ),
    "gap": ("gap", "energy_gap", "e_gap", "energy_margin"),
    "auroc": ("auroc", "auc", "roc_auc", "energy_auroc"),
    "top1": ("top1", "top_1", "acc", "accuracy", "top1_accuracy", "acc_top1", "top1_acc", "recall_1"),
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
    return found, tuple(notes)


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
