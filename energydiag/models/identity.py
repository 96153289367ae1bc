"""Whether a model gives the energies that its owner's own code gave, and in which of its possible forms.

A state dict tells neither how its head pools the steps nor which activation makes the energy, how many attention heads
there are, what True means in the mask or in which type was computed. All of that is a finite set, and energies of a few
dozen samples tell its members apart: every form is tried, and the one that gives the owner's numbers is the model.

Shapes: n samples, S context tokens, D context width, H action steps, A action dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from energydiag.batch import Batch
from energydiag.errors import ModelFailed
from energydiag.heads import ALL_FORMS, HeadForm
from energydiag.models.copying import copied
from energydiag.models.dropout_passes import is_one_more
from energydiag.models.energy_function import MASKS, EnergyFunction, Mask
from energydiag.models.match import (
    FEWEST_PROVING,
    OTHER_ABOVE,
    Match,
    distance,
    is_kindred,
    level,
    match_of,
    owner_energies,
)
from energydiag.models.model_form import PRECISIONS, Forms, ModelForm, Stated

SAME_BELOW = 0.01
"""Largest difference, in standard deviations of the owner's energies, of the same model (heuristic: float32 on two
machines differs by 1e-5 and less, other forms by .1 and more)."""

SEARCHED = 48
"""Samples that all forms are tried on."""

PROVEN = 256
"""Samples that the form that was found is compared on."""

_TRIED_AGAIN = 3
"""Forms, the nearest, that other precisions and dropout are tried with."""

_PASSES = 16
"""Passes in train mode whose mean and standard deviation a dropped-out energy is compared with."""

FEWEST_WITH_DROPOUT = 32
"""Samples below which dropout may explain nothing: measured on other checkpoints, 2 to 5 of 8 passed with 12 and fewer,
none of 8 with 16 and more."""

_ALIKE = 0.3
"""Correlation with the owner's energies below which no precision and no dropout is tried (heuristic)."""

_CHUNK = 16
"""Samples of one call."""

_AS_MUCH = 1.5
"""Times what rounding moves energies by, up to which it explains a difference (heuristic: two of them make 1.4)."""

_CLEARLY = 0.5
"""Part of the difference that another precision must leave for it to be called the reason (heuristic)."""


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
    masks = _masks(energy, known, forms)
    stated = stated if len(masks) > 1 else replace(stated, mask=None)  # no other mask can be told from it
    tried = sorted(_tried(energy, known, stated, forms, masks), key=distance)
    allowed = [match for match in tried if stated.allows(match.form)]
    if not allowed:
        return Identity("different", tried[0], nearest=tuple(tried[:3]))
    best = allowed[0]
    if best.relative >= SAME_BELOW and tried[0].relative >= SAME_BELOW:
        alike = [match for match in allowed[:_TRIED_AGAIN] if match.correlation > _ALIKE]
        again = [*_in_precisions(energy, known, alike, forms)]
        if min([best, *again], key=distance).relative > OTHER_ABOVE and best.samples >= FEWEST_WITH_DROPOUT:
            again += _in_train_mode(energy, known, alike, forms)
        if min([best, *again], key=distance).relative > OTHER_ABOVE and best.samples >= FEWEST_PROVING:
            again += _explained(energy, known, alike, forms)
        allowed = sorted([*allowed, *again], key=distance)
        best = allowed[0]
    same = [match for match in allowed if match.relative < SAME_BELOW]
    if not best.form.train_mode and same:
        best, same = _on_more(energy, batch, same, forms)
    is_near = best.relative <= OTHER_ABOVE or bool(best.explained)
    verdict: Verdict = "same" if best.relative < SAME_BELOW else "undetermined" if is_near else "different"
    if verdict == "same" and (best.spread <= 1e-6 * level(batch) or best.samples < FEWEST_PROVING):
        verdict = "undetermined"  # energies that do not differ, or too few, tell no forms apart
    kindred = [match for match in same if is_kindred(match, best)]
    best = min(kindred, key=_usual, default=best)
    tied = tuple(match.form for match in sorted(kindred, key=_usual) if match.form != best.form)
    return Identity(verdict, best, tuple(dict.fromkeys(tied)), tuple(tried[:3]))


def _usual(match: Match) -> tuple[int, int, bool]:
    """Of forms that give the same numbers, the more frequent one comes first."""
    head = match.form.head
    place = ALL_FORMS.index(head) if head in ALL_FORMS else len(ALL_FORMS)
    return 0 if head is None else place, MASKS.index(match.form.mask), bool(match.form.precision)


def _rows(batch: Batch, most: int) -> Batch:
    """Usable samples, spread over the episodes."""
    nonfinite, hidden = batch.unusable()
    usable = batch.select(torch.nonzero(~(nonfinite | hidden)).reshape(-1))
    if not len(usable):
        raise ModelFailed("No sample of the dump can be compared with its `energies`.", "dump finite contexts.")
    return usable.take(usable.spread(most))


def takes_mask(energy: EnergyFunction, batch: Batch, forms: Forms | None) -> bool:
    """Whether a mask matters: the dump hides something, and the module takes one."""
    takes = forms is not None or "pad_mask" in energy.calling.arguments
    return takes and batch.pad_mask is not None and bool(batch.pad_mask.any())


def _masks(energy: EnergyFunction, batch: Batch, forms: Forms | None) -> tuple[Mask, ...]:
    """What may have reached the module."""
    return MASKS if takes_mask(energy, batch, forms) else ("hidden",)


def _tried(
    energy: EnergyFunction, batch: Batch, stated: Stated, forms: Forms | None, masks: Sequence[Mask]
) -> Iterator[Match]:
    heads = tuple(dict.fromkeys((*ALL_FORMS, *([] if stated.head is None else [stated.head]))))
    for form, ours in _energies_by_form(energy, batch, forms, masks, heads):
        yield match_of(form, ours, batch)
        yield match_of(replace(form, sign="score"), -ours, batch)
        if stated.sign == "score":  # what the owner's code gave may be the module's own scores
            yield match_of(replace(form, sign="score"), ours, batch)


def _energies_by_form(
    energy: EnergyFunction, batch: Batch, forms: Forms | None, masks: Sequence[Mask], heads: Sequence[HeadForm]
) -> Iterator[tuple[ModelForm, Tensor]]:
    """What the module returns, ``[n]``, in every form but for its sign."""
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
                for form, table in forms.table(energy.module, hidden, actions[:, None], own, heads):
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
    module = copied(energy.module) if forms is None else forms.reform(energy.module, form)
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
            form = replace(match.form, precision=name)
            if dtype is not None and _is_in(batch, dtype):
                yield match_of(form, ours, batch, dtype)
            elif (found := match_of(form, ours, batch)).difference < _CLEARLY * match.difference:
                yield found


def _explained(energy: EnergyFunction, batch: Batch, nearest: Sequence[Match], forms: Forms | None) -> Iterator[Match]:
    """Forms whose difference is no larger than what rounding moves them by.

    Two machines that both compute in bfloat16 differ by about what each of them is away from float32.
    """
    owner = owner_energies(batch)
    for match in nearest:
        plain = in_form(energy, match.form, forms)
        base = _returned(plain, batch)
        residual = _rms(owner - base)
        for name, moved in _rounded(plain, batch, base):
            if residual <= _AS_MUCH * moved:  # NaN on a side is no explanation
                yield replace(match, explained=name)
                break


def _rounded(energy: EnergyFunction, batch: Batch, base: Tensor) -> Iterator[tuple[str, float]]:
    """Kinds of rounding, and what each moves energies by; the finest first."""
    contexts = batch.hidden.dtype
    if contexts in (torch.bfloat16, torch.float16):
        spread = torch.finfo(contexts).eps / 12**0.5
        noise = torch.randn(batch.hidden.shape, generator=torch.Generator().manual_seed(0))
        jittered = replace(batch, hidden=batch.hidden.float() * (1 + spread * noise))
        yield f"contexts dumped in {_name(contexts)}", _rms(_returned(energy, jittered) - base)
    for dtype in (torch.float16, torch.bfloat16):
        try:
            other = replace(energy, module=copied(energy.module).to(dtype))
            yield _name(dtype), _rms(_returned(other, batch) - base)
        except (ModelFailed, RuntimeError):  # what a kernel lacks in this type
            continue


def _rms(value: Tensor) -> float:
    """Root mean square; NaN where a value is not finite."""
    return float(value.square().mean().sqrt()) if bool(torch.isfinite(value).all()) else float("nan")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _is_in(batch: Batch, dtype: torch.dtype) -> bool:
    """Whether the owner's energies are numbers of this type."""
    owner = owner_energies(batch)
    owner = owner[torch.isfinite(owner)]
    return bool((owner.to(dtype).double() == owner).all())


def _in_train_mode(
    energy: EnergyFunction, batch: Batch, nearest: Sequence[Match], forms: Forms | None
) -> Iterator[Match]:
    """The nearest forms in train mode, where what is left is what repeated passes differ by.

    Of the right form, the owner's energies are one more pass.
    """
    owner = owner_energies(batch)
    for match in nearest:
        other = in_form(energy, match.form, forms)
        still = _returned(other, batch)
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
        if is_one_more(owner, passes, still):
            misfit = float((deviation.log() + (owner - mean).abs() / deviation).mean())
            yield replace(match, form=replace(match.form, train_mode=True), excess=0.0, misfit=misfit)


def _on_more(
    energy: EnergyFunction, batch: Batch, same: Sequence[Match], forms: Forms | None
) -> tuple[Match, list[Match]]:
    """The forms that gave the same, compared on more samples."""
    more = _rows(batch, PROVEN)
    again = []
    for match in (one for one in same if is_kindred(one, same[0])):
        dtype, autocast = PRECISIONS.get(match.form.precision, (None, None))
        other = in_form(energy, match.form, forms)
        if dtype is not None:
            other.module.to(dtype)
        value = _returned(other, more, autocast)
        found = match_of(match.form, value, more, dtype or autocast)
        if match.form.sign == "score":
            found = min(found, match_of(match.form, -value, more, dtype or autocast), key=distance)
        again.append(found)
    again.sort(key=distance)
    return again[0], again
