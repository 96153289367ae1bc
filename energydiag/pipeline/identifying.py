"""From a checkpoint and a dump to the owner's model: proven by the dump's energies, else assumed, and said so."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from energydiag.batch import Batch
from energydiag.checkpoints.listing import step_in_name
from energydiag.checkpoints.step import step_inside
from energydiag.energies.pairs import Pairs
from energydiag.errors import EnergydiagError, InvalidBatch, UsageError
from energydiag.models.energy_function import EnergyFunction
from energydiag.models.identity import SAME_BELOW, Identity, identify, takes_mask
from energydiag.models.model_form import PRECISIONS, ModelForm, Stated
from energydiag.pipeline.identity_words import counted, digits, named, other_model, why_undetermined
from energydiag.pipeline.loading import ModelOptions, OpenCheckpoint, SharedForm, open_checkpoint
from energydiag.pipeline.wrong_guess import if_wrong

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
        InvalidBatch: Widths do not fit the model's, or the energies cannot be compared.
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
    if options.shared is not None and not mine and options.shared.checkpoint != str(path):
        return _beside(opened, batch, tau)
    if opened.plan.settings.get("fixes", "[]") != "[]" and not mine:
        note = "the dump's `energies` are not compared: they were computed before this checkpoint was repaired"
        return Identified(opened.build(), _told(opened, "assumed", note))
    found = _identity(opened, batch)
    if found.verdict == "different":
        raise _refusal(opened, batch, found, whose, mine=mine)
    if found.best.lost:
        raise InvalidBatch(
            f"{found.best.lost} of the dump's `energies` are not finite, although the model's are finite there.",
            "dump energies in float32 (float16 ends at 65504), computed from the dump's own contexts and actions.",
        )
    return _proven(opened, batch, found, None if mine else whose)


def shared_form(paths: Sequence[Path], models: Sequence[ModelOptions], batch: Batch) -> SharedForm | None:
    """What a dump's energies prove on the one of several checkpoints that they belong to.

    Args:
        paths: The checkpoints.
        models: What the keys of each may not tell.
        batch: The dump.

    Returns:
        `NOT_PROVEN` where they belong to none of them; None where the dump holds no energies.

    Raises:
        UsageError: They are a checkpoint's in another form than was stated.
    """
    if batch.energies is None:
        return None
    whose = owner_of(batch)
    near: SharedForm | None = None
    for path, options in zip(paths, models, strict=True):
        try:
            opened = open_checkpoint(path, options)
            if whose is not None and not _is_owner(whose, path, opened):
                continue
            found = _identity(opened, batch)
        except EnergydiagError:  # whoever measures this one says what is wrong
            continue
        if found.verdict == "different" and found.nearest[0].relative < SAME_BELOW:
            raise _refusal(opened, batch, found, whose, mine=False)
        shared = SharedForm(
            found.best.form.settings, opened.without_unexpected().outline, str(path), opened.unexpected, found.verdict
        )
        if found.verdict == "same":
            return shared
        near = near or (shared if found.verdict == "undetermined" else None)
    return near or NOT_PROVEN


def _shared_by(path: Path, options: ModelOptions, batch: Batch) -> SharedForm:
    """What the dump's energies prove of the checkpoint that the user names.

    Raises:
        UsageError: They are not its, or there are none.
        EnergydiagError: The checkpoint cannot be read.
    """
    known = replace(options, energies_of=None, weights=None)
    open_checkpoint(path, known)  # says what is wrong with it
    shared = shared_form([path], [known], replace(batch, energies_of=None))
    if shared is None:
        raise UsageError(f"--energies-of {path}: the dump holds no `energies`.", "leave --energies-of out.")
    if shared == NOT_PROVEN:
        raise UsageError(
            f"--energies-of {path}: the dump's `energies` are not those of this checkpoint.",
            "name the checkpoint that they belong to; or dump without `energies`, and state --head and --nhead.",
        )
    return shared


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
    check_fit(energy, batch)
    if batch.energies is not None and not bool(torch.isfinite(batch.energies).any()):
        raise InvalidBatch("None of the dump's `energies` is finite.", "dump finite ones, or leave `energies` out.")
    return identify(energy, batch, Stated.by(opened.plan.settings), opened.plan.forms(opened.tensors))


def _refusal(
    opened: OpenCheckpoint, batch: Batch, found: Identity, whose: str | int | None, *, mine: bool
) -> EnergydiagError:
    masked = _hides(opened.build(proving=True), opened, batch)
    return other_model(Stated.by(opened.plan.settings), found, whose, mine=mine, masked=masked)


def check_fit(energy: EnergyFunction, batch: Batch) -> None:
    """Refuses contexts and actions that a built-in model was not made for.

    Raises:
        InvalidBatch: Widths differ, or there are no tokens or no steps.
    """
    if energy.widths is None:
        return
    got = (batch.hidden.shape[-1], batch.actions.shape[-1])
    if got != energy.widths:
        raise InvalidBatch(
            f"The checkpoint was made for contexts of width {energy.widths[0]} and actions of {energy.widths[1]} "
            f"dimensions; the batch has {got[0]} and {got[1]}.",
            "dump the batch with the policy that this energy head was trained on.",
        )
    if batch.hidden.dim() != 3 or batch.actions.dim() != 3:
        raise InvalidBatch(
            f"The {energy.architecture} head takes contexts [N, S, D] and actions [N, H, A]; the batch has "
            f"{list(batch.hidden.shape)} and {list(batch.actions.shape)}.",
            "dump tokens and chunks, one token or one step where there is no more: hidden[:, None], actions[:, None].",
        )


def signed(energy: EnergyFunction, batch: Batch) -> tuple[EnergyFunction, str]:
    """`EnergyFunction.with_sign`, found on samples of a batch.

    Raises:
        ModelFailed: The module raised, or its answer holds no energy.
    """
    few = batch.take(torch.arange(min(2, len(batch))))
    pairs = Pairs(few.hidden, few.actions, few.pad_mask, shared=True).to(energy.device, energy.dtype)
    return energy.with_sign(pairs.hidden, pairs.actions, pairs.pad_mask)


def _proven(opened: OpenCheckpoint, batch: Batch, found: Identity, others: str | int | None) -> Identified:
    """The model in the form that was found.

    Args:
        opened: The checkpoint.
        batch: With the energies.
        found: What they say.
        others: Whose they are by ``energies_of``, where that is not this checkpoint.
    """
    form, best = found.best.form, found.best
    energy, precision = _measured(opened, form)
    described = form.describe(_hides(energy, opened, batch))
    described += precision
    compared = f"largest difference {digits(best.difference)} over {counted(best.samples, 'sample')}"
    described = f"; found: {described}" if described else ""
    if found.verdict == "undetermined":
        return Identified(energy, _told(opened, "undetermined", f"{why_undetermined(best, compared)}{described}"))
    words = f"the same model: {compared}"
    if form.train_mode:
        words = (
            f"the same model, as far as dropout lets it be seen: {compared}, which is what repeated passes in train "
            "mode differ by; the `energies` were dumped with dropout at work: dump them after model.eval()"
        )
    words += described
    tied = [other.options for other in found.tied if other.options]
    words += f"; the same numbers come from {', '.join(tied)}" if tied else ""
    if opened.unexpected:
        names = ", ".join(opened.unexpected[:6])
        words += f"; it does not read {counted(len(opened.unexpected), 'key')} of the checkpoint: {names}"
    if others is not None:
        words += f"; but `energies_of` names {named(others)}"
    return Identified(energy, _told(opened, "same", words))


def _measured(opened: OpenCheckpoint, form: ModelForm) -> tuple[EnergyFunction, str]:
    """The model in a form, and what is different from how its owner computes, in words.

    A finer type than the checkpoint's is taken, unless the user names one; a coarser one is not: it would be measured
    instead of the model.
    """
    energy = opened.with_settings(form.settings).without_unexpected().build()
    if not form.precision:
        return energy, ""
    dtype, _ = PRECISIONS[form.precision]
    own = energy.dtype
    if dtype is not None and opened.options.dtype is None and torch.finfo(dtype).eps < torch.finfo(own).eps:
        energy.module.to(dtype)
        own = dtype
    name = str(own).removeprefix("torch.")
    return energy, "" if name == form.precision else f" (measured in {name})"


def _beside(opened: OpenCheckpoint, batch: Batch, tau: float) -> Identified:
    """A checkpoint that the energies do not belong to, among others."""
    shared = opened.options.shared
    if shared is None or shared.outline != opened.without_unexpected().outline:
        told = _assumed(opened, batch, tau)
        told.facts["identity_told"] = "the dump's `energies` are another checkpoint's; " + told.facts["identity_told"]
        return told
    energy = opened.build()
    proof = "prove" if shared.verdict == "same" else "make probable"
    words = f"as the dump's `energies` {proof} of {shared.checkpoint}"
    described = _form_of(energy).describe(_hides(energy, opened, batch))
    facts = _told(opened, "shared", f"{described}, {words}" if described else words)
    facts["energies_of"] = shared.checkpoint
    return Identified(energy, facts)


def _assumed(opened: OpenCheckpoint, batch: Batch, tau: float) -> Identified:
    """The model as it is stated, and what would be different if that is wrong."""
    energy = opened.build()
    check_fit(energy, batch)
    form = _form_of(signed(energy, batch)[0])
    forms = opened.plan.forms(opened.tensors)
    parts = [form.describe(_hides(energy, opened, batch))]
    if forms is None:
        parts = [f"called as {energy.calling.described()}", *parts]
    words = f"assumed, not proven: {', '.join(part for part in parts if part)}"
    if forms is None:
        words += ". With the other --sign, every AUROC a would be 1 − a"
    else:
        changes = list(if_wrong(energy, forms, form, batch, tau))
        words += f". If it was {'; '.join(changes)}" if changes else ""
    words += ". Dump `energies`, what your own code gives for these samples, and it is proven"
    return Identified(energy, _told(opened, "assumed", words))


def _told(opened: OpenCheckpoint, verdict: str, words: str) -> MutableMapping[str, str]:
    opened.facts["identity"] = verdict
    opened.facts["identity_told"] = words
    return opened.facts


def _form_of(energy: EnergyFunction) -> ModelForm:
    stated = Stated.by(energy.settings)
    return ModelForm(stated.head, stated.nhead, energy.mask, energy.sign or "energy")


def _hides(energy: EnergyFunction, opened: OpenCheckpoint, batch: Batch) -> bool:
    return takes_mask(energy, batch, opened.plan.forms(opened.tensors))
