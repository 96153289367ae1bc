"""One form's energies beside the owner's: how far they are, and which of two forms is nearer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from energydiag.batch import Batch
from energydiag.models.dropout_passes import correlation
from energydiag.models.energy_function import Mask
from energydiag.models.model_form import ModelForm

OTHER_ABOVE = 0.05
"""Where another model begins (heuristic: what bfloat16 contexts in a dump move the energies by, docs/identity.md)."""

FEWEST_PROVING = 8
"""Samples below which equal energies prove nothing (heuristic)."""

_FEWEST = 2
"""Samples that a form must be compared on."""

_KINDRED = 2.0
"""How much farther than the best form another may be to give the same numbers within rounding."""

_LIKELIHOOD_RATIO = 6.0
"""In train mode, below which log-likelihood ratio two forms are not told apart (heuristic: odds of 400)."""

_ROUNDING = 1e-5
"""What computing in another order moves float32 energies by, in their standard deviations."""


@dataclass(frozen=True)
class Match:
    """One form's energies beside the owner's.

    Attributes:
        form: Which.
        difference: Largest ``|E − e|``.
        excess: Largest part of it that the rounding of stored energies does not explain.
        spread: Standard deviation of the owner's energies; of a single one, its size.
        samples: How many were compared.
        correlation: Of both.
        lost: Samples of which the owner's energy is not finite, although the model's is.
        misfit: In train mode, the mean negative log-likelihood of the residuals under Laplace's distribution with the
            mean and the standard deviation of repeated passes.
        explained: What rounding moves this form's energies by as much, such as ``"bfloat16"``; empty where none does.
    """

    form: ModelForm
    difference: float
    excess: float
    spread: float
    samples: int
    correlation: float = 0.0
    lost: int = 0
    misfit: float = 0.0
    explained: str = ""

    @property
    def relative(self) -> float:
        """The excess in standard deviations; infinite where energies that differ have none."""
        if self.excess == 0:
            return 0.0
        return self.excess / self.spread if self.spread > 0 else float("inf")


def owner_energies(batch: Batch) -> Tensor:
    """What the owner's code gave, ``[n]`` float64."""
    if batch.energies is None or batch.energies.numel() != len(batch):
        raise ValueError("a batch without one energy a sample proves nothing")
    return batch.energies.double().reshape(len(batch))


def level(batch: Batch) -> float:
    """Mean absolute owner's energy, over finite ones."""
    values = owner_energies(batch).abs()
    finite = values[torch.isfinite(values)]
    return float(finite.mean()) if len(finite) else 0.0


def match_of(form: ModelForm, ours: Tensor, batch: Batch, computed: torch.dtype | None = None) -> Match:
    """Ours ``[n]`` against the owner's, where both are finite; not finite in one alone is as far as can be.

    A context that the form's mask hides whole has no energy: some kernels of attention give NaN there, others zero.
    """
    seen = _seen(batch, form.mask)
    owner, ours = owner_energies(batch)[seen], ours.double().cpu()[seen]
    finite, own = torch.isfinite(owner), torch.isfinite(ours)
    if int(finite.sum()) < min(FEWEST_PROVING, len(batch)) or bool((finite & ~own).any()):
        return Match(form, float("inf"), float("inf"), 1.0, int(finite.sum()))
    lost = int((~finite & own).sum())
    owner, ours = owner[finite], ours[finite]
    difference = (ours - owner).abs()
    stored = batch.energies.dtype if batch.energies is not None else torch.float32
    allowance = 0.5 * _spacing(owner, stored)
    if computed is not None:
        allowance = torch.maximum(allowance, _spacing(owner, computed))
    excess = (difference - allowance).clamp_min(0)
    spread = float(owner.std()) if len(owner) > 1 else float(owner.abs().mean())
    alike = correlation(ours, owner) if spread > 0 and len(owner) > _FEWEST else 0.0
    return Match(form, float(difference.max()), float(excess.max()), spread, len(owner), alike, lost)


def _seen(batch: Batch, mask: Mask) -> Tensor:
    """Samples of whose context something is left, ``[n]`` bool."""
    if batch.pad_mask is None or mask == "unused":
        return torch.ones(len(batch), dtype=torch.bool)
    return ~(~batch.pad_mask if mask == "visible" else batch.pad_mask).all(dim=1)


def _spacing(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Distance between neighboring numbers of a type, at a value."""
    return value.abs() * torch.finfo(dtype).eps


def distance(match: Match) -> tuple[bool, float, float, float]:
    """By which matches are sorted, the nearest first."""
    is_far = match.relative > OTHER_ABOVE and not match.explained
    return is_far, match.relative, match.misfit, match.difference


def is_kindred(match: Match, best: Match) -> bool:
    """Whether a form gives the same numbers as the best one, to within rounding."""
    if best.form.train_mode:
        return match.form.train_mode and (match.misfit - best.misfit) * best.samples < _LIKELIHOOD_RATIO
    return match.excess <= max(_KINDRED * best.excess, _ROUNDING * best.spread)
