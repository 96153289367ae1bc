"""What another form of a model would change, where nothing proves which it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from energydiag.batch import Batch
from energydiag.heads import ALL_FORMS
from energydiag.losses import info_nce_per_row
from energydiag.models.energy_function import EnergyFunction, Mask
from energydiag.models.model_form import Forms, ModelForm
from energydiag.training.validation import swap_ranks

_GUESSED_ON = 32
"""Samples on which it is shown what another form would change."""

_LARGE_CONTEXT = 1 << 17
"""Numbers in a context above which a third of them must do."""


def if_wrong(energy: EnergyFunction, forms: Forms, form: ModelForm, batch: Batch, tau: float) -> Iterator[str]:
    """What another number of attention heads, pooling, or mask would change: the loss and the AUROC of a small set."""
    size = batch.hidden[:1].numel()
    some = batch.take(batch.spread(_GUESSED_ON if size < _LARGE_CONTEXT else _GUESSED_ON // 3))
    nonfinite, hidden = some.unusable()
    some = some.take(torch.nonzero(~(nonfinite | hidden)).reshape(-1))
    if len(some) < 2 or form.head is None or form.nhead is None:
        return
    own = form
    tables = {other: table for other, table in _tables(energy, forms, form, some) if _differences(other, own) <= 1}
    if own not in tables:
        return
    loss, auroc = _numbers(tables[own], tau)
    for part, option in (("nhead", "--nhead {}"), ("head", "--head {}"), ("mask", "--mask {}")):
        others = [other for other in tables if getattr(other, part) != getattr(own, part)]
        if part == "head":
            others = [one for one in others if one.head is not None and one.head.activation == form.head.activation]
        changed = {one: _numbers(tables[one], tau) for one in others}
        changed = {one: got for one, got in changed.items() if got[0] == got[0]}  # NaN where a mask hides everything
        if changed:
            one = max(changed, key=lambda other: (abs(changed[other][1] - auroc), abs(changed[other][0] - loss)))
            value = one.head.name if part == "head" and one.head is not None else getattr(one, part)
            yield (
                f"{option.format(value)}, loss {changed[one][0]:.2f} for {loss:.2f}, AUROC {changed[one][1]:.3f} for "
                f"{auroc:.3f}"
            )


def _differences(one: ModelForm, other: ModelForm) -> int:
    return (one.head != other.head) + (one.nhead != other.nhead) + (one.mask != other.mask)


def _tables(energy: EnergyFunction, forms: Forms, form: ModelForm, some: Batch) -> Iterator[tuple[ModelForm, Tensor]]:
    """Energies ``[B, B]`` of every sample's action in every sample's context, in every form near the one assumed."""
    nhead = form.nhead or 1
    heads = tuple(dict.fromkeys((*ALL_FORMS, *([] if form.head is None else [form.head]))))
    hidden = some.hidden.to(energy.device, energy.dtype)
    actions = some.actions.to(energy.device, energy.dtype)
    masks: dict[Mask, Tensor | None] = {"hidden": some.pad_mask}
    if some.pad_mask is not None and bool(some.pad_mask.any()):
        masks |= {"visible": ~some.pad_mask, "unused": None}
    masks = {name: None if mask is None else mask.to(energy.device) for name, mask in masks.items()}
    found: dict[ModelForm, list[Tensor]] = {}
    with torch.no_grad():
        for row in range(len(some)):
            own: dict[Mask, Tensor | None] = {
                name: None if mask is None else mask[row : row + 1] for name, mask in masks.items()
            }
            for other, table in forms.table(
                energy.module, hidden[row : row + 1], actions[None], own, heads, (nhead, nhead // 2, 2 * nhead)
            ):
                found.setdefault(replace(other, sign=form.sign), []).append(table.cpu().double())
    sign = -1.0 if form.sign == "score" else 1.0
    yield from ((other, sign * torch.cat(each)) for other, each in found.items())


def _numbers(table: Tensor, tau: float) -> tuple[float, float]:
    """InfoNCE and AUROC of an in-batch set."""
    if not bool(torch.isfinite(table).all()):
        return float("nan"), float("nan")
    return float(info_nce_per_row(table, tau).mean()), swap_ranks(table)[0]
