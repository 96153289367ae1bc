"""From files to energy functions."""

from __future__ import annotations

import fnmatch
import hashlib
import shlex
from collections import UserDict
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from energydiag.checkpoints import TensorSet, Weights, read_weights
from energydiag.errors import InvalidCheckpoint, UsageError, first_line
from energydiag.files.file_check import FileCheck
from energydiag.files.names import shown
from energydiag.heads import POOLINGS, head_form, stated_form
from energydiag.models.build import Plan, plan_energy
from energydiag.models.energy_function import EnergyFunction
from energydiag.models.places import Place
from energydiag.objectives import objective_named

_MOST_LISTED = 8

_DEVICES = ("cpu", "cuda", "mps", "xpu")
"""Devices that compute: others, as ``meta``, hold no numbers."""


@dataclass(frozen=True)
class ModelOptions:
    """What the keys of a checkpoint may not tell.

    Attributes:
        model: Name of a built-in architecture, ``package.module:factory`` or ``path/file.py:factory``.
        model_arguments: Keyword arguments of the factory, as text.
        head: The head's activation or whole form, by a name or a formula of `energydiag.heads`.
        pool: Where the head averages the action steps: ``"features"``, ``"raw"`` or ``"energy"``.
        nhead: Number of attention heads.
        mask: What True means in the mask that reaches the model: ``"hidden"``, ``"visible"``, or ``"unused"``.
        sign: ``"energy"`` or ``"score"``.
        candidates: Whether the factory's module takes all candidates of a context at once, ``[B, N, …]``.
        device: Where to compute.
        dtype: Type to compute in (``"float32"``, …); None keeps the checkpoint's.
        weights: Which of several sets of weights in the checkpoint, with dots: ``"ema"``, ``"callbacks.ema"``,
            ``"model.policy.energy_head"``; None takes the one that fits, weights before averages of them.
        allow_globals: Dotted names of classes of plain data that the checkpoint's pickle may use; they are imported.
        ignore_keys: Patterns of keys that the model does not read.
        energies_of: Path of the checkpoint that the dump's energies belong to, where it is another one.
        shared: What the dump's energies proved on another checkpoint of the same keys and shapes.
        objective: What it was trained with, by a name of `energydiag.objectives`; None where the checkpoint tells.
    """

    model: str | None = None
    model_arguments: Mapping[str, str] | None = None
    head: str | None = None
    nhead: int | None = None
    sign: str | None = None
    device: str = "cpu"
    dtype: str | None = None
    candidates: bool = False
    weights: str | None = None
    allow_globals: Sequence[str] = ()
    pool: str | None = None
    mask: str | None = None
    ignore_keys: Sequence[str] = ()
    energies_of: str | None = None
    shared: SharedForm | None = None
    objective: str | None = None

    def stated(self, metadata: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
        """A file's metadata with what the user says instead, and sentences about where the two differ.

        Raises:
            UsageError: There is no such head or objective.
        """
        if self.objective is not None:
            objective_named(self.objective)  # says what it may be
        if self.head is None and self.pool is None:
            form = stated_form(metadata)
        else:
            named = stated_form(metadata) if self.head is None else None
            head = self.head if named is None else named.activation.formula
            form = None if head is None else head_form(head, self.pool)
        given: dict[str, object] = {"pool": self.pool, "nhead": self.nhead, "sign": self.sign, "mask": self.mask}
        given |= {"objective": self.objective}
        if self.pool is not None and self.pool not in POOLINGS:
            head_form("original", self.pool)  # says what it may be
        said = {
            **{name: str(value) for name, value in given.items() if value is not None},
            **({} if form is None else form.settings),
            **({"candidates": "true"} if self.candidates else {}),
        }
        before = {**metadata, **(own.settings if (own := stated_form(metadata)) is not None else {})}
        overridden = [
            f"--{name} {value} was taken, although the checkpoint's metadata says {before[name]}."
            for name, value in said.items()
            if before.get(name, value) != value
        ]
        return {**metadata, **said}, overridden


@dataclass(frozen=True)
class SharedForm:
    """A form that a dump's energies proved on the checkpoint that they belong to.

    Attributes:
        settings: As metadata holds it.
        outline: Keys and shapes of the checkpoint, of what its model reads.
        checkpoint: Its path.
        not_read: Further keys, which the energies prove that it does not read.
        verdict: ``"same"``, or ``"undetermined"``.
    """

    settings: Mapping[str, str]
    outline: str
    checkpoint: str
    not_read: tuple[str, ...] = ()
    verdict: str = "same"


class _Facts(UserDict[str, str]):
    """Facts of a file, one of which is waited for when it is asked for."""

    def __init__(self, facts: Mapping[str, str], check: FileCheck) -> None:
        super().__init__(facts)
        self._check = check

    def __getitem__(self, key: str) -> str:
        return self._check.sha256() if key == "sha256" else super().__getitem__(key)


@dataclass(frozen=True)
class OpenCheckpoint:
    """A checkpoint's tensors and what is known of the model that they belong to, before it is built.

    Attributes:
        path: The file.
        options: What the user says.
        plan: What is to be built.
        tensors: By the model's own keys.
        unexpected: Keys that the model does not have, and that nothing says to pass over.
        facts: What the file says of itself, as text.
    """

    path: Path
    options: ModelOptions
    plan: Plan
    tensors: Mapping[str, Tensor]
    unexpected: tuple[str, ...]
    facts: MutableMapping[str, str]

    @property
    def outline(self) -> str:
        """Hash of keys and shapes: the same for checkpoints of one training."""
        rows = sorted(f"{key} {list(value.shape)}" for key, value in self.tensors.items())
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()

    def build(self, *, proving: bool = False) -> EnergyFunction:
        """The energy function, on its device and in its type.

        Args:
            proving: Whether it is only to be compared with the owner's energies: unexpected keys are passed over then,
                and what the keys cannot tell may be anything.

        Raises:
            EnergydiagError: As `load_checkpoint`.
        """
        plan, tensors = self.plan, dict(self.tensors)
        if proving:
            plan = replace(plan, settings={**_ANY_FORM, **plan.settings})
            tensors = {key: value for key, value in tensors.items() if key not in self.unexpected}
        energy = plan.build(tensors)
        energy.module.to(device=_device(self.options.device), dtype=_dtype(self.options.dtype))
        return energy

    def with_settings(self, settings: Mapping[str, str]) -> OpenCheckpoint:
        """The same with what was found out."""
        return replace(self, plan=replace(self.plan, settings={**self.plan.settings, **settings}))

    def with_shared(self) -> OpenCheckpoint:
        """The same with the form that was proven on another checkpoint, if this one has the same keys and shapes.

        What the user or the checkpoint's own metadata says comes first.
        """
        shared, read = self.options.shared, self.without_unexpected()
        if shared is None or shared.outline != read.outline:
            return self
        own = read if set(self.unexpected) <= set(shared.not_read) else self
        return own.with_settings({**shared.settings, **self.plan.settings})

    def without_unexpected(self) -> OpenCheckpoint:
        """The same without the keys that the model does not have."""
        kept = {key: value for key, value in self.tensors.items() if key not in self.unexpected}
        return replace(self, tensors=kept, unexpected=())


_ANY_FORM = {"head": "original", "pool": "features", "nhead": "1"}
"""To build a model whose form is yet to be found."""


def open_checkpoint(path: Path, options: ModelOptions) -> OpenCheckpoint:
    """Finds the model's tensors in a file and reads them.

    The whole file is hashed, and where it has checksums checked, in a thread of its own; who asks the facts for
    ``sha256`` waits for it, and gets an `UnreadableFile` where the file is damaged.

    Raises:
        EnergydiagError: As `load_checkpoint`.
    """
    weights = read_weights(path, options.allow_globals)
    settings, overridden = options.stated(weights.settings)
    plan = plan_energy(settings, model=options.model, model_arguments=options.model_arguments)
    found = _candidates(weights, plan, options.ignore_keys)
    chosen = _chosen(found, weights, plan, options.weights)
    if chosen.place.clash is not None:
        first, second = map(shown, chosen.place.clash)
        raise InvalidCheckpoint(
            f"{path} holds {first} and {second}, which mean the same but for names of wrappers around modules.",
            "keep one of them, or say which part is meant: --weights NAME.",
        )
    ignored = [key for one in weights.sets for key in one.outlines if _is_ignored(key, options.ignore_keys)]
    if options.ignore_keys and not ignored:
        raise UsageError(
            f"No key of {path} is as --ignore-keys says ({', '.join(options.ignore_keys)}).",
            "leave it out, or mend it.",
        )
    tensors = chosen.set.read(chosen.place.keys)
    unexpected = replace(plan, settings={**_ANY_FORM, **settings}).unexpected(tensors)
    never_read = [key for key in unexpected if key.rpartition(".")[2] in plan.never_read(tensors)]
    facts = {
        "path": str(path),
        "format": weights.file.format,
        "sha256": "",
        "overridden": " ".join(overridden),
        "container": chosen.set.name,
        "prefix": chosen.place.prefix,
        "wrappers": ", ".join(chosen.place.wrappers),
        "never_read": ", ".join(never_read),
        "ignored": _listed(ignored) if ignored else "",
        "also_there": ", ".join(
            f"{shown(name)[1:-1]} (--weights {shlex.quote(name)})" for name in _others(found, chosen)
        ),
    }
    kept = {key: value for key, value in facts.items() if value or key == "sha256"}
    own = {key: value for key, value in tensors.items() if key not in never_read}
    left = tuple(key for key in unexpected if key not in never_read)
    return OpenCheckpoint(path, options, plan, own, left, _Facts(kept, weights.check)).with_shared()


def _is_ignored(key: str, patterns: Sequence[str]) -> bool:
    """Whether a key, or what is left of it behind a prefix, is as a pattern says."""
    return any(fnmatch.fnmatchcase(key, each) for pattern in patterns for each in (pattern, f"*.{pattern}"))


@dataclass(frozen=True)
class _Candidate:
    """A place in one of a checkpoint's sets of tensors."""

    set: TensorSet
    place: Place

    @property
    def name(self) -> str:
        """What ``--weights`` takes."""
        return ".".join(part for part in (self.set.name, self.place.prefix.rstrip(".")) if part)


def _candidates(weights: Weights, plan: Plan, ignored: Sequence[str]) -> list[_Candidate]:
    """All places, the best first, as if ignored keys were not there."""
    outlines = [
        {key: value for key, value in one.outlines.items() if not _is_ignored(key, ignored)} for one in weights.sets
    ]
    found = [
        _Candidate(one, place) for one, own in zip(weights.sets, outlines, strict=True) for place in plan.places(own)
    ]
    return sorted(found, key=lambda each: (not each.place.fits, each.set.rank(each.place.prefix)))


def _chosen(found: Sequence[_Candidate], weights: Weights, plan: Plan, wanted: str | None) -> _Candidate:
    if wanted is None:
        if found:
            return found[0]
        largest = max(weights.sets, key=lambda one: len(one.outlines))
        raise plan.no_place(list(largest.outlines))
    named = _named(found, wanted)
    if named:
        return named[0]
    held = next((one for one in weights.sets if one.name == wanted), None)
    if held is not None:
        raise plan.no_place(list(held.outlines))
    raise UsageError(
        f"--weights {wanted} is not in {weights.file.path}; there are: "
        f"{_listed([*(one.name for one in found), *(one.name for one in weights.sets)])}.",
        "give one of these names, or leave --weights out.",
    )


def _named(found: Sequence[_Candidate], wanted: str) -> list[_Candidate]:
    return [one for one in found if f"{one.name}.".startswith(f"{wanted}.")]


def _others(found: Sequence[_Candidate], chosen: _Candidate) -> list[str]:
    """What else fits, by the shortest name that leads there."""
    others = [one for one in found if one.place.fits and one.name not in ("", chosen.name)]
    names = (one.set.name if one.set.name and _named(found, one.set.name)[0] is one else one.name for one in others)
    listed: list[str] = []
    for name in names:
        if name not in listed:
            listed.append(name)
        if len(listed) == _MOST_LISTED:  # each name takes a walk over all that was found
            break
    return listed


def _listed(names: Iterable[str]) -> str:
    """Names of a stranger's dicts, each once."""
    unique = list(dict.fromkeys(name for name in names if name))
    text = ", ".join(shown(name)[1:-1] for name in unique[:_MOST_LISTED]) or "tensors at top level alone"
    return text + (f" and {len(unique) - _MOST_LISTED} more" if len(unique) > _MOST_LISTED else "")


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        if device.type not in _DEVICES:
            raise ValueError(f"it is none of {', '.join(_DEVICES)}")
        float(torch.ones(1, device=device) + 1)
    except Exception as error:  # what a device that is not there raises differs from one to the next
        raise UsageError(
            f"--device {name} cannot be used: {first_line(error).rstrip('.')}.",
            "use --device cpu, or cuda on a machine with one.",
        ) from error
    return device


def _dtype(name: str | None) -> torch.dtype | None:
    kinds = {
        "float32": torch.float32,
        "float64": torch.float64,
        "bfloat16": torch.bfloat16,
        "float16": torch.float16,
    }
    if name is not None and name not in kinds:
        raise UsageError(f"--dtype is one of {', '.join(kinds)}, not {name!r}.", "use --dtype float32.")
    return None if name is None else kinds[name]
