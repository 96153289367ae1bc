"""Whether a model gives the energies that its owner's own code gave, and in which of its possible forms.

A state dict tells neither how its head pools the steps nor which activation makes the energy, how many attention heads
there are, what True means in the mask or in which type was computed. All of that is a finite set, and energies of a few
dozen samples tell its members apart: every form is tried, and the one that gives the owner's numbers is the model.

Shapes: n samples, S context tokens, D context width, H action steps, A action dimensions.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from energydiag.batch import Batch
from energydiag.errors import ModelFailed
from energydiag.heads import ALL_FORMS, HeadForm, stated_form
from energydiag.models.energy_function import MASKS, EnergyFunction, Mask, Sign

SAME_BELOW = 0.01
"""Largest difference, in standard deviations of the owner's energies, of the same model (heuristic: float32 on two
machines differs by 1e-5 and less, other forms by .1 and more)."""

OTHER_ABOVE = 0.05
"""Where another model begins (heuristic: what bfloat16 contexts in a dump move the energies by, docs/identity.md)."""

SEARCHED = 48
"""Samples that all forms are tried on."""

PROVEN = 256
"""Samples that the form that was found is compared on."""

_TRIED_AGAIN = 6
"""Forms, the nearest, that other precisions and dropout are tried with."""

_PASSES = 24
"""Passes in train mode whose mean and standard deviation a dropped-out energy is compared with."""

_CHUNK = 16
"""Samples of one call."""

_KINDRED = 2.0
"""How much farther than the best form another may be to give the same numbers within rounding."""

_LIKELIHOOD_RATIO = 6.0
"""In train mode, below which log-likelihood ratio two forms are not told apart (heuristic: odds of 400)."""

_ROUNDING = 1e-5
"""What computing in another order moves float32 energies by, in their standard deviations."""

PRECISIONS: Mapping[str, tuple[torch.dtype | None, torch.dtype | None]] = {
    "float32": (torch.float32, None),
    "bfloat16": (torch.bfloat16, None),
    "float16": (torch.float16, None),
    "autocast bfloat16": (None, torch.bfloat16),
    "autocast float16": (None, torch.float16),
}
"""By name: the type of weights and inputs, and the type that autocast computes in."""


@dataclass(frozen=True)
class ModelForm:
    """What a checkpoint's keys cannot tell of its model.

    Attributes:
        head: Pooling and activation; None for a user's module, whose code says it.
        nhead: Attention heads, likewise.
        mask: What True means in the mask that reaches the module.
        sign: Whether the module returns energies or scores.
        precision: A key of `PRECISIONS`, or empty: as the checkpoint is.
        train_mode: Whether dropout was at work.
    """

    head: HeadForm | None = None
    nhead: int | None = None
    mask: Mask = "hidden"
    sign: Sign = "energy"
    precision: str = ""
    train_mode: bool = False

    @property
    def settings(self) -> dict[str, str]:
        """As a checkpoint's metadata holds it."""
        return {
            **({} if self.head is None else self.head.settings),
            **({} if self.nhead is None else {"nhead": str(self.nhead)}),
            "mask": self.mask,
            "sign": self.sign,
        }

    @property
    def options(self) -> str:
        """What to type to state it."""
        words = []
        if self.head is not None:
            name = self.head.name
            words.append(f"--head {name}" if " " not in name else f"--head '{name}' --pool {self.head.pool}")
        words += [f"--nhead {self.nhead}"] if self.nhead is not None else []
        words += [f"--mask {self.mask}"] if self.mask != "hidden" else []
        words += [f"--sign {self.sign}"] if self.sign != "energy" else []
        return " ".join(words)

    def describe(self, masked: bool = True) -> str:
        """In words; ``masked``: whether the dump hides any token."""
        masks = {
            "hidden": "mask passed",
            "visible": "mask passed inverted (True = visible)",
            "unused": "mask never passed to the model",
        }
        parts = []
        if self.head is not None:
            parts += [f"head {self.head.name} ({self.head.formula})"]
        if self.nhead is not None:
            parts += [f"{self.nhead} attention head{'' if self.nhead == 1 else 's'}"]
        parts += [masks[self.mask]] if masked else []
        parts += ["the module returns scores (−E)"] if self.sign == "score" else []
        parts += [f"computed in {self.precision}"] if self.precision else []
        parts += ["in train mode (dropout at work)"] if self.train_mode else []
        return ", ".join(parts) or "low energies fit"


@dataclass(frozen=True)
class Stated:
    """What a user or a checkpoint's metadata says of a model; None where nothing does."""

    head: HeadForm | None = None
    nhead: int | None = None
    mask: Mask | None = None
    sign: Sign | None = None

    @classmethod
    def by(cls, settings: Mapping[str, str]) -> Stated:
        """What settings, which were checked, say."""
        mask: Any = settings.get("mask")
        sign: Any = settings.get("sign")
        nhead = settings.get("nhead")
        return cls(stated_form(settings), None if nhead is None else int(nhead), mask, sign)

    @property
    def options(self) -> str:
        """What was, or would have been, typed to state it."""
        words = [] if self.head is None else ModelForm(self.head).options.split()
        words += [
            f"--{name} {value}" for name in ("nhead", "mask", "sign") if (value := getattr(self, name)) is not None
        ]
        return " ".join(words)

    def allows(self, form: ModelForm) -> bool:
        """Whether a form is none other than what is stated."""
        return all(
            said is None or said == own
            for said, own in (
                (self.head, form.head if form.head is not None else self.head),
                (self.nhead, form.nhead if form.nhead is not None else self.nhead),
                (self.mask, form.mask),
                (self.sign, form.sign),
            )
        )


@dataclass(frozen=True)
class Match:
    """One form's energies beside the owner's.

    Attributes:
        form: Which.
        difference: Largest ``|E − e|``.
        excess: Largest part of it that the rounding of stored energies does not explain.
        spread: Standard deviation of the owner's energies.
        samples: How many were compared.
        misfit: In train mode, the mean negative log-likelihood of the residuals under those of repeated passes.
    """

    form: ModelForm
    difference: float
    excess: float
    spread: float
    samples: int
    misfit: float = 0.0

    @property
    def relative(self) -> float:
        """The excess in standard deviations; infinite where energies that differ have none."""
        if self.excess == 0:
            return 0.0
        return self.excess / self.spread if self.spread > 0 else float("inf")


Verdict = Literal["same", "undetermined", "different"]


@dataclass(frozen=True)
class Identity:
    """What a dump's energies say of a model.

    Attributes:
        verdict: Whether it is the owner's.
        best: The nearest form that is allowed.
        tied: Others that give the same numbers to the precision in which energies were stored.
        nearest: The nearest of all forms, also of those that contradict what is stated.
    """

    verdict: Verdict
    best: Match
    tied: tuple[ModelForm, ...] = ()
    nearest: tuple[Match, ...] = ()


class FormTable(Protocol):
    """Energies in every form at once."""

    def __call__(
        self,
        module: nn.Module,
        hidden_BSD: Tensor,
        actions_BNHA: Tensor,
        masks: Mapping[Mask, Tensor | None],
        nheads: Collection[int] | None = None,
        /,
    ) -> Iterator[tuple[ModelForm, Tensor]]:
        """Forms and their energies ``[B, N]``; ``nheads`` limits the numbers of attention heads to these."""


Reform = Callable[[nn.Module, ModelForm], nn.Module]
"""A copy of a module in another form."""


@dataclass(frozen=True)
class Forms:
    """The forms that an architecture can have with the same keys.

    Attributes:
        table: Energies in all of them.
        reform: A copy of a module in one of them.
    """

    table: FormTable
    reform: Reform


def identify(energy: EnergyFunction, batch: Batch, stated: Stated, forms: Forms | None) -> Identity:
    """Which form of a model gave the energies in a batch.

    Args:
        energy: The model, in any form of its architecture.
        batch: With ``energies``.
        stated: What must hold of the form that is taken.
        forms: The architecture's; None for a module whose own code says how its energy is made.

    Raises:
        ModelFailed: The module raised.
    """
    known = _rows(batch, SEARCHED)
    tried = sorted(_tried(energy, known, stated, forms), key=_distance)
    allowed = [match for match in tried if stated.allows(match.form)] or tried
    best = allowed[0]
    if best.relative >= SAME_BELOW:
        again = [*_in_precisions(energy, known, allowed[:_TRIED_AGAIN], forms)]
        if min([best, *again], key=_distance).relative >= SAME_BELOW:
            again += _in_train_mode(energy, known, allowed[:_TRIED_AGAIN], forms)
        allowed = sorted([*allowed, *again], key=_distance)
        best = allowed[0]
    same = [match for match in allowed if match.relative < SAME_BELOW]
    if not best.form.train_mode and same:
        best, same = _on_more(energy, batch, same, forms)
    verdict: Verdict = (
        "same" if best.relative < SAME_BELOW else "undetermined" if best.relative <= OTHER_ABOVE else "different"
    )
    if best.spread <= 1e-6 * _level(batch) and verdict == "same":
        verdict = "undetermined"  # energies that do not differ tell no forms apart
    kindred = [match for match in same if _is_kindred(match, best)]
    best = min(kindred, key=_usual, default=best)
    tied = tuple(match.form for match in sorted(kindred, key=_usual) if match.form != best.form)
    return Identity(verdict, best, tuple(dict.fromkeys(tied)), tuple(tried[:3]))


def _usual(match: Match) -> tuple[int, int, bool]:
    """Of forms that give the same numbers, the more frequent one comes first."""
    head = match.form.head
    return 0 if head is None else ALL_FORMS.index(head), MASKS.index(match.form.mask), bool(match.form.precision)


def _level(batch: Batch) -> float:
    """Mean absolute owner's energy, over finite ones."""
    values = _owner(batch).abs()
    finite = values[torch.isfinite(values)]
    return float(finite.mean()) if len(finite) else 0.0


def _owner(batch: Batch) -> Tensor:
    if batch.energies is None:
        raise ValueError("a batch without energies proves nothing")
    return batch.energies.double()


def _distance(match: Match) -> tuple[float, float, float]:
    return match.relative, match.misfit, match.difference


def _is_kindred(match: Match, best: Match) -> bool:
    if best.form.train_mode:
        return match.form.train_mode and (match.misfit - best.misfit) * best.samples < _LIKELIHOOD_RATIO
    return match.excess <= max(_KINDRED * best.excess, _ROUNDING * best.spread)


def _rows(batch: Batch, most: int) -> Batch:
    """Usable samples, spread over the episodes."""
    nonfinite, hidden = batch.unusable()
    usable = batch.select(torch.nonzero(~(nonfinite | hidden)).reshape(-1))
    if not len(usable):
        raise ModelFailed("No sample of the dump can be compared with its `energies`.", "dump finite contexts.")
    return usable.take(usable.spread(most))


def _match(form: ModelForm, ours: Tensor, batch: Batch, computed: torch.dtype | None = None) -> Match:
    """Ours ``[n]`` against the owner's, where both are finite; not finite in one alone is as far as can be."""
    owner, ours = _owner(batch), ours.double().cpu()
    finite = torch.isfinite(owner)
    if not bool(finite.any()) or bool((finite != torch.isfinite(ours)).any()):
        return Match(form, float("inf"), float("inf"), 1.0, len(owner))
    owner, ours = owner[finite], ours[finite]
    difference = (ours - owner).abs()
    stored = batch.energies.dtype if batch.energies is not None else torch.float32
    allowance = 0.5 * _spacing(owner, stored)
    if computed is not None:
        allowance = torch.maximum(allowance, _spacing(owner, computed))
    excess = (difference - allowance).clamp_min(0)
    spread = float(owner.std()) if len(owner) > 1 else 0.0
    return Match(form, float(difference.max()), float(excess.max()), spread, len(owner))


def _spacing(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Distance between neighboring numbers of a type, at a value."""
    return value.abs() * torch.finfo(dtype).eps


def _masks(batch: Batch) -> dict[Mask, Tensor | None]:
    """What may have reached the module; one entry where the dump hides nothing."""
    mask = batch.pad_mask
    if mask is None or not bool(mask.any()):
        return {"hidden": mask}
    return {"hidden": mask, "visible": ~mask, "unused": None}


def _tried(energy: EnergyFunction, batch: Batch, stated: Stated, forms: Forms | None) -> Iterator[Match]:
    for form, ours in _energies_by_form(energy, batch, forms):
        yield _match(form, ours, batch)
        yield _match(replace(form, sign="score"), -ours, batch)
        if stated.sign == "score":  # what the owner's code gave may be the module's own scores
            yield _match(replace(form, sign="score"), ours, batch)


def _energies_by_form(energy: EnergyFunction, batch: Batch, forms: Forms | None) -> Iterator[tuple[ModelForm, Tensor]]:
    """What the module returns, ``[n]``, in every form but for its sign."""
    masks = _masks(batch)
    if forms is None:
        for mask in masks:
            yield ModelForm(mask=mask), _returned(replace(energy, mask=mask, sign="energy"), batch)
        return
    found: dict[ModelForm, list[Tensor]] = {}
    with torch.no_grad():
        for part in _parts(batch):
            hidden, actions = part.hidden.to(energy.device, energy.dtype), part.actions.to(energy.device, energy.dtype)
            own = {name: None if mask is None else mask.to(energy.device) for name, mask in _masks_of(part, masks)}
            with energy.failures(hidden, actions, part.pad_mask):
                for form, table in forms.table(energy.module, hidden, actions[:, None], own):
                    found.setdefault(form, []).append(table[:, 0])
    yield from ((form, torch.cat(each)) for form, each in found.items())


def _masks_of(part: Batch, names: Iterable[Mask]) -> Iterator[tuple[Mask, Tensor | None]]:
    for name in names:
        mask = part.pad_mask
        yield name, None if mask is None or name == "unused" else ~mask if name == "visible" else mask


def _parts(batch: Batch) -> Iterator[Batch]:
    for start in range(0, len(batch), _CHUNK):
        yield batch.take(torch.arange(start, min(start + _CHUNK, len(batch))))


def _returned(energy: EnergyFunction, batch: Batch, autocast: torch.dtype | None = None) -> Tensor:
    """Energies ``[n]`` of plain calls."""
    found = []
    with torch.no_grad():
        for part in _parts(batch):
            hidden, actions = part.hidden.to(energy.device, energy.dtype), part.actions.to(energy.device, energy.dtype)
            mask = None if part.pad_mask is None else part.pad_mask.to(energy.device)
            cast: AbstractContextManager[Any] = nullcontext()
            if autocast is not None:
                cast = torch.autocast(energy.device.type, dtype=autocast)
            with energy.failures(hidden, actions, mask), cast:
                found.append(energy(hidden, actions, mask).double().cpu())
    return torch.cat(found)


def in_form(energy: EnergyFunction, form: ModelForm, forms: Forms | None) -> EnergyFunction:
    """A copy of an energy function in another form, in the precision that it has."""
    module = copy.deepcopy(energy.module) if forms is None else forms.reform(energy.module, form)
    return replace(energy, module=module, mask=form.mask, sign=form.sign)


def _in_precisions(
    energy: EnergyFunction, batch: Batch, nearest: Sequence[Match], forms: Forms | None
) -> Iterator[Match]:
    """The nearest forms in other types, where the module can be computed in them."""
    for match in nearest:
        for name, (dtype, autocast) in PRECISIONS.items():
            if dtype == energy.dtype:
                continue
            try:
                other = in_form(energy, match.form, forms)
                if dtype is not None:
                    other.module.to(dtype)
                ours = _returned(other, batch, autocast)
            except (ModelFailed, RuntimeError):  # what a kernel lacks in this type
                continue
            yield _match(replace(match.form, precision=name), ours, batch, dtype or autocast)


def _in_train_mode(
    energy: EnergyFunction, batch: Batch, nearest: Sequence[Match], forms: Forms | None
) -> Iterator[Match]:
    """The nearest forms in train mode, where what is left is what repeated passes differ by.

    Of the right form, squared residuals in units of each sample's own standard deviation average to one.
    """
    owner = _owner(batch)
    for match in nearest:
        other = in_form(energy, match.form, forms)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            other.module.train()
            try:
                passes = torch.stack([_returned(other, batch) for _ in range(_PASSES)])
            except ModelFailed:
                continue
        mean, deviation = passes.mean(dim=0), passes.std(dim=0)
        if not bool(torch.isfinite(passes).all()) or bool((deviation <= 0).any()):
            continue
        score = (owner - mean) / deviation
        bias = float(score.mean().abs()) * len(owner) ** 0.5
        if 0.5 < float(score.square().mean()) < 1.8 and bias < 5 and float(score.abs().max()) < 8:
            misfit = float((deviation.log() + 0.5 * score.square()).mean())
            yield replace(match, form=replace(match.form, train_mode=True), excess=0.0, misfit=misfit)


def _on_more(
    energy: EnergyFunction, batch: Batch, same: Sequence[Match], forms: Forms | None
) -> tuple[Match, list[Match]]:
    """The forms that gave the same, compared on more samples."""
    more = _rows(batch, PROVEN)
    again = []
    for match in (one for one in same if _is_kindred(one, same[0])):
        dtype, autocast = PRECISIONS.get(match.form.precision, (None, None))
        other = in_form(energy, match.form, forms)
        if dtype is not None:
            other.module.to(dtype)
        value = _returned(other, more, autocast)
        found = _match(match.form, value, more, dtype or autocast)
        if match.form.sign == "score":
            found = min(found, _match(match.form, -value, more, dtype or autocast), key=_distance)
        again.append(found)
    again.sort(key=_distance)
    return again[0], again
