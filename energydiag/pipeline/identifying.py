"""From a checkpoint and a dump to the owner's model: proven by the dump's energies, else assumed, and said so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from energydiag.batch import Batch
from energydiag.checkpoints.listing import step_in_name
from energydiag.checkpoints.step import step_inside
from energydiag.errors import EnergydiagError, InvalidCheckpoint, UsageError
from energydiag.losses import info_nce_per_row
from energydiag.models.energy_function import EnergyFunction, Mask
from energydiag.models.identity import OTHER_ABOVE, SAME_BELOW, Identity, Match, identify
from energydiag.models.model_form import Forms, ModelForm, Stated
from energydiag.pipeline.loading import ModelOptions, OpenCheckpoint, SharedForm, open_checkpoint
from energydiag.training.validation import swap_ranks

_GUESSED_ON = 32
"""Samples on which it is shown what another form would change."""

_LARGE_CONTEXT = 1 << 17
"""Numbers in a context above which a third of them must do."""

NOT_PROVEN = SharedForm({}, "", "")
"""What a dump's energies say of several checkpoints if they belong to none of them."""


@dataclass(frozen=True)
class Identified:
    """A model as it is measured, and how sure it is that its owner's is the same.

    Attributes:
        energy: The function.
        facts: What its file says of itself; ``identity`` is ``same``, ``shared``, ``undetermined`` or ``assumed``, and
            ``identity_told`` says it in words.
    """

    energy: EnergyFunction
    facts: MutableMapping[str, str]


def load_checkpoint(
    path: str | Path,
    model: str | None = None,
    head: str | None = None,
    nhead: int | None = None,
    sign: str | None = None,
    model_arguments: Mapping[str, str] | None = None,
    device: str = "cpu",
    dtype: str | None = None,
    candidates: bool = False,
    weights: str | None = None,
    allow_globals: Sequence[str] = (),
    pool: str | None = None,
    mask: str | None = None,
    ignore_keys: Sequence[str] = (),
    batch: Batch | None = None,
) -> EnergyFunction:
    """The energy function that a checkpoint holds, in eval mode.

    Args:
        path: The checkpoint: a file of ``torch.save`` or safetensors, an index of several, or a folder of them or of
            ``torch.distributed.checkpoint``. Only the energy head's tensors are read.
        model: How to rebuild it; see `ModelOptions`. A factory's code is run.
        head: The head's activation or whole form; see `ModelOptions`.
        nhead: Number of attention heads, likewise.
        sign: ``"score"`` if high means good.
        model_arguments: Keyword arguments of a factory, as text.
        device: Where to compute.
        dtype: Type to compute in; None keeps the checkpoint's.
        candidates: Whether a factory's module takes ``[B, N, …]`` actions and answers with ``[B, N]``.
        weights: Which of several sets of weights in it; see `ModelOptions`.
        allow_globals: Classes that its pickle may use; see `ModelOptions`.
        pool: Where the head averages the action steps; see `ModelOptions`.
        mask: What True means in the mask that reaches the model; see `ModelOptions`.
        ignore_keys: Patterns of keys that the model does not read.
        batch: With ``energies`` of this checkpoint: what its keys cannot tell is then found, and proven.

    Raises:
        UnreadableFile: The file is missing, truncated, of no known format, not safe to read, or damaged where the
            head is (what is flipped elsewhere is told by `inspect` of the file).
        InvalidCheckpoint: Its tensors do not fit the model.
        UsageError: Something that the keys cannot tell was not given.
    """
    options = ModelOptions(
        model,
        model_arguments,
        head,
        nhead,
        sign,
        device,
        dtype,
        candidates,
        weights,
        allow_globals,
        pool,
        mask,
        ignore_keys,
    )
    opened = open_checkpoint(Path(path), options)
    if batch is None or batch.energies is None:
        return opened.build()
    return identified(opened, batch, tau=1.0).energy


def identified(opened: OpenCheckpoint, batch: Batch, tau: float) -> Identified:
    """The model of a checkpoint, in the form that the batch's energies prove.

    Where ``options.shared`` is given, several checkpoints share the dump: one that its energies do not belong to is
    then no error.

    Args:
        opened: The checkpoint.
        batch: What it is to be measured on.
        tau: For the loss that a wrong form would have.

    Raises:
        InvalidCheckpoint: The energies are another model's.
        UsageError: They are this model's in another form than was stated, or nothing tells its form.
        EnergydiagError: As `load_checkpoint`.
    """
    path, options = opened.path, opened.options
    if options.energies_of is not None:
        options = replace(options, shared=_shared_by(Path(options.energies_of), options, batch))
        opened = replace(opened, options=options).with_shared()
    if batch.energies is None:
        return _assumed(opened, batch, tau)
    whose = owner_of(batch)
    mine = whose is not None and _is_owner(whose, path, opened)
    stranger = options.shared is not None and not mine and options.shared.checkpoint != str(path)
    if stranger:
        return _beside(opened, batch, tau)
    if opened.plan.settings.get("fixes", "[]") != "[]" and not mine:
        note = "the dump's `energies` are not compared: they were computed before this checkpoint was repaired"
        return Identified(opened.build(), _told(opened, "assumed", note))
    found = _identity(opened, batch)
    if found.verdict == "different":
        raise _other_model(batch, found, Stated.by(opened.plan.settings), whose, mine)
    return _proven(opened, batch, found)


def _shared_by(path: Path, options: ModelOptions, batch: Batch) -> SharedForm:
    """What the dump's energies prove of the checkpoint that the user names.

    Raises:
        UsageError: They are not its, or there are none.
    """
    known = replace(options, energies_of=None, weights=None)
    shared = shared_form([path], [known], replace(batch, energies_of=None))
    if shared is None or shared == NOT_PROVEN:
        why = "holds no `energies`" if shared is None else f"holds `energies` that are not those of {path}"
        raise UsageError(
            f"--energies-of {path}: the dump {why}.", f"see why: energydiag inspect checkpoint {path} --batch …"
        )
    return shared


def shared_form(paths: Sequence[Path], models: Sequence[ModelOptions], batch: Batch) -> SharedForm | None:
    """What a dump's energies prove on the one of several checkpoints that they belong to.

    Args:
        paths: The checkpoints.
        models: What the keys of each may not tell.
        batch: The dump.

    Returns:
        `NOT_PROVEN` where they belong to none of them; None where the dump holds no energies.
    """
    if batch.energies is None:
        return None
    whose = owner_of(batch)
    for path, options in zip(paths, models, strict=True):
        try:
            opened = open_checkpoint(path, options)
            if whose is not None and not _is_owner(whose, path, opened):
                continue
            found = _identity(opened, batch)
        except EnergydiagError:  # whoever measures this one says what is wrong
            continue
        if found.verdict == "same":
            own = opened.without_unexpected()
            return SharedForm(found.best.form.settings, own.outline, str(path))
    return NOT_PROVEN


def owner_of(batch: Batch) -> str | int | None:
    """Whose energies a batch holds: the SHA-256 or the step of the checkpoint, or None where it does not say."""
    if batch.energies_of is None:
        return None
    first = batch.energies_of[0]
    return bytes(first.tolist()).hex() if first.dtype == torch.uint8 else int(first)


def _is_owner(whose: str | int, path: Path, opened: OpenCheckpoint) -> bool:
    if isinstance(whose, str):
        return opened.facts["sha256"] == whose
    inside = step_inside(path, opened.options.allow_globals)
    return whose == (step_in_name(path) if inside is None else inside)


def _identity(opened: OpenCheckpoint, batch: Batch) -> Identity:
    energy = opened.build(proving=True)
    return identify(energy, batch, Stated.by(opened.plan.settings), opened.plan.forms(opened.tensors))


def _proven(opened: OpenCheckpoint, batch: Batch, found: Identity) -> Identified:
    form, best = found.best.form, found.best
    settings = form.settings
    if found.verdict == "undetermined":
        words = (
            f"undetermined whether this is the owner's model: largest difference {_digits(best.difference)} over "
            f"{best.samples} samples, {best.relative:.1%} of the energies' standard deviation (below "
            f"{SAME_BELOW:.0%} it is the same, above {OTHER_ABOVE:.0%} another); {form.describe(_hides(batch))}"
        )
        if best.explained:
            words += f". Rounding explains it: {best.explained} moves this model's energies by as much"
        if best.relative < SAME_BELOW:
            words = f"undetermined: the dump's `energies` are all the same, so any form gives them; {form.describe()}"
        return Identified(opened.with_settings(settings).build(), _told(opened, "undetermined", words))
    told = "the same model" if not form.train_mode else "the same model, as far as dropout lets it be seen"
    words = f"{told}: largest difference {_digits(best.difference)} over {best.samples} samples"
    if form.train_mode:
        words += (
            ", which is what repeated passes in train mode differ by; the `energies` were dumped with dropout at work: "
            "dump them after model.eval()"
        )
    words += f"; found: {form.describe(_hides(batch))}"
    others = [other.options for other in found.tied]
    words += f"; the same numbers come from {', '.join(others)}" if others else ""
    if opened.unexpected:
        words += f"; {len(opened.unexpected)} keys are not read by it: {', '.join(opened.unexpected[:6])}"
        opened = opened.without_unexpected()
    return Identified(opened.with_settings(settings).build(), _told(opened, "same", words))


def _beside(opened: OpenCheckpoint, batch: Batch, tau: float) -> Identified:
    """A checkpoint that the energies do not belong to, among others."""
    shared = opened.options.shared
    if shared is None or shared.outline != opened.outline:
        told = _assumed(opened, batch, tau)
        told.facts["identity_told"] = "the dump's `energies` are another checkpoint's; " + told.facts["identity_told"]
        return told
    energy = opened.build()
    words = f"{_form_of(energy).describe(_hides(batch))}, as the dump's `energies` prove of {shared.checkpoint}"
    facts = _told(opened, "shared", words)
    facts["energies_of"] = shared.checkpoint
    return Identified(energy, facts)


def _assumed(opened: OpenCheckpoint, batch: Batch, tau: float) -> Identified:
    """The model as it is stated, and what would be different if that is wrong."""
    energy = opened.build()
    form = _form_of(energy)
    forms = opened.plan.forms(opened.tensors)
    if forms is None:
        words = f"assumed, not proven: called as {energy.calling.described()}, {form.describe(_hides(batch))}"
        words += ". With the other --sign, every AUROC a would be 1 − a"
    else:
        words = f"assumed, not proven: {form.describe(_hides(batch))}"
        changes = list(_if_wrong(energy, forms, form, batch, tau))
        words += f". If it was {'; '.join(changes)}" if changes else ""
    words += ". Dump `energies`, what your own code gives for these samples, and it is proven"
    return Identified(energy, _told(opened, "assumed", words))


def _told(opened: OpenCheckpoint, verdict: str, words: str) -> MutableMapping[str, str]:
    opened.facts["identity"] = verdict
    opened.facts["identity_told"] = words
    return opened.facts


def _form_of(energy: EnergyFunction) -> ModelForm:
    stated = Stated.by(energy.settings)
    return ModelForm(stated.head, stated.nhead, energy.mask, energy.sign)


def _hides(batch: Batch) -> bool:
    return batch.pad_mask is not None and bool(batch.pad_mask.any())


def _digits(number: float) -> str:
    return f"{number:.1g}" if number < 1e-3 else f"{number:.2g}"


def _other_model(batch: Batch, found: Identity, stated: Stated, whose: str | int | None, mine: bool) -> EnergydiagError:
    """Why nothing is measured: another form was stated, or the energies are of something else."""
    best, nearest = found.best, found.nearest[0]
    masked = _hides(batch)
    if nearest.relative < SAME_BELOW:
        return UsageError(
            f"The dump's `energies` are not this model's as it is stated ({stated.options}): the largest difference is "
            f"{_digits(best.difference)}, {_deviations(best)}. They are its energies with "
            f"{nearest.form.describe(masked)} (largest difference {_digits(nearest.difference)} over {nearest.samples} "
            "samples).",
            f"use {nearest.form.options or 'no --mask and no --sign'}; stated nothing, the energies tell it.",
        )
    belongs = ""
    if whose is not None:
        belongs = " By `energies_of` they are this checkpoint's" if mine else " By `energies_of` they are those of "
        belongs += "." if mine else f"{f'step {whose}' if isinstance(whose, int) else f'checkpoint {whose[:12]}…'}."
    forms = "; ".join(f"{one.form.describe(masked)}: {_digits(one.difference)}" for one in found.nearest)
    what = "no form of this model gives them" if best.form.head is not None else "the model does not give them"
    return InvalidCheckpoint(
        f"The dump's `energies` are another model's: {what}. Over {best.samples} samples the largest difference is "
        f"{_digits(best.difference)}, {_deviations(best)}; nearest are {forms}.{belongs}",
        "dump the energies of this checkpoint, or add --energies-of CKPT, the checkpoint that they belong to"
        + (
            "."
            if best.form.head is not None
            else "; check what your code does to contexts, actions and mask before it calls the model."
        ),
    )


def _deviations(match: Match) -> str:
    return f"{match.relative:.2g} standard deviations of the energies"


def _if_wrong(energy: EnergyFunction, forms: Forms, form: ModelForm, batch: Batch, tau: float) -> Iterator[str]:
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
                energy.module, hidden[row : row + 1], actions[None], own, (nhead, nhead // 2, 2 * nhead)
            ):
                found.setdefault(replace(other, sign=form.sign), []).append(table.cpu().double())
    sign = -1.0 if form.sign == "score" else 1.0
    yield from ((other, sign * torch.cat(each)) for other, each in found.items())


def _numbers(table: Tensor, tau: float) -> tuple[float, float]:
    """InfoNCE and AUROC of an in-batch set."""
    if not bool(torch.isfinite(table).all()):
        return float("nan"), float("nan")
    return float(info_nce_per_row(table, tau).mean()), swap_ranks(table)[0]
