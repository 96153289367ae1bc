"""From files to energy functions."""

from __future__ import annotations

import shlex
from collections import UserDict
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from energydiag.checkpoints import TensorSet, Weights, read_weights
from energydiag.errors import InvalidCheckpoint, UsageError
from energydiag.files.file_check import FileCheck
from energydiag.files.names import shown
from energydiag.models.build import Plan, plan_energy
from energydiag.models.energy_function import EnergyFunction
from energydiag.models.places import Place

_MOST_LISTED = 8


@dataclass(frozen=True)
class ModelOptions:
    """What the keys of a checkpoint may not tell.

    Attributes:
        model: Name of a built-in architecture, ``package.module:factory`` or ``path/file.py:factory``.
        model_arguments: Keyword arguments of the factory, as text.
        head: Variant of the head.
        nhead: Number of attention heads.
        sign: ``"energy"`` or ``"score"``.
        candidates: Whether the factory's module takes all candidates of a context at once, ``[B, N, …]``.
        device: Where to compute.
        dtype: Type to compute in (``"float32"``, …); None keeps the checkpoint's.
        weights: Which of several sets of weights in the checkpoint, with dots: ``"ema"``, ``"callbacks.ema"``,
            ``"model.policy.energy_head"``; None takes the one that fits, weights before averages of them.
        allow_globals: Dotted names of classes of plain data that the checkpoint's pickle may use; they are imported.
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
) -> EnergyFunction:
    """The energy function that a checkpoint holds, in eval mode.

    Args:
        path: The checkpoint: a file of ``torch.save`` or safetensors, an index of several, or a folder of them or of
            ``torch.distributed.checkpoint``. Only the energy head's tensors are read.
        model: How to rebuild it; see `ModelOptions`. A factory's code is run.
        head: Variant of the head, where neither keys nor metadata tell it.
        nhead: Number of attention heads, likewise.
        sign: ``"score"`` if high means good.
        model_arguments: Keyword arguments of a factory, as text.
        device: Where to compute.
        dtype: Type to compute in; None keeps the checkpoint's.
        candidates: Whether a factory's module takes ``[B, N, …]`` actions and answers with ``[B, N]``.
        weights: Which of several sets of weights in it; see `ModelOptions`.
        allow_globals: Classes that its pickle may use; see `ModelOptions`.

    Raises:
        UnreadableFile: The file is missing, truncated, of no known format, not safe to read, or damaged where the
            head is (what is flipped elsewhere is told by `inspect` of the file).
        InvalidCheckpoint: Its tensors do not fit the model.
        UsageError: Something that the keys cannot tell was not given.
    """
    options = ModelOptions(model, model_arguments, head, nhead, sign, device, dtype, candidates, weights, allow_globals)
    return read_checkpoint(Path(path), options)[0]


class _Facts(UserDict[str, str]):
    """Facts of a file, one of which is waited for when it is asked for."""

    def __init__(self, facts: Mapping[str, str], check: FileCheck) -> None:
        super().__init__(facts)
        self._check = check

    def __getitem__(self, key: str) -> str:
        return self._check.sha256() if key == "sha256" else super().__getitem__(key)


def read_checkpoint(path: Path, options: ModelOptions) -> tuple[EnergyFunction, MutableMapping[str, str]]:
    """The energy function, and what its file says of itself as text.

    The whole file is hashed, and where it has checksums checked, in a thread of its own; who asks the facts for
    ``sha256`` waits for it, and gets an `UnreadableFile` where the file is damaged.

    Raises:
        EnergydiagError: As `load_checkpoint`.
    """
    weights = read_weights(path, options.allow_globals)
    given = {"head": options.head, "nhead": options.nhead, "sign": options.sign}
    overridden = [
        f"--{name} {value} was taken, although the checkpoint's metadata says {weights.settings[name]}."
        for name, value in given.items()
        if value is not None and weights.settings.get(name, str(value)) != str(value)
    ]
    settings = {**weights.settings, **{key: str(value) for key, value in given.items() if value is not None}}
    settings |= {"candidates": "true"} if options.candidates else {}
    plan = plan_energy(settings, model=options.model, model_arguments=options.model_arguments)
    found = _candidates(weights, plan)
    chosen = _chosen(found, weights, plan, options.weights)
    if chosen.place.clash is not None:
        first, second = map(shown, chosen.place.clash)
        raise InvalidCheckpoint(
            f"{path} holds {first} and {second}, which mean the same but for names of wrappers around modules.",
            "keep one of them, or say which part is meant: --weights NAME.",
        )
    energy = plan.build(chosen.set.read(chosen.place.keys))
    energy.module.to(device=_device(options.device), dtype=_dtype(options.dtype))
    facts = {
        "path": str(path),
        "format": weights.file.format,
        "sha256": "",
        "overridden": " ".join(overridden),
        "container": chosen.set.name,
        "prefix": chosen.place.prefix,
        "wrappers": ", ".join(chosen.place.wrappers),
        "also_there": ", ".join(
            f"{shown(name)[1:-1]} (--weights {shlex.quote(name)})" for name in _others(found, chosen)
        ),
    }
    kept = {key: value for key, value in facts.items() if value or key == "sha256"}
    return energy, _Facts(kept, weights.check)


@dataclass(frozen=True)
class _Candidate:
    """A place in one of a checkpoint's sets of tensors."""

    set: TensorSet
    place: Place

    @property
    def name(self) -> str:
        """What ``--weights`` takes."""
        return ".".join(part for part in (self.set.name, self.place.prefix.rstrip(".")) if part)


def _candidates(weights: Weights, plan: Plan) -> list[_Candidate]:
    """All places, the best first."""
    found = [_Candidate(one, place) for one in weights.sets for place in plan.places(one.outlines)]
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
    return list(dict.fromkeys(names))[:_MOST_LISTED]


def _listed(names: Iterable[str]) -> str:
    """Names of a stranger's dicts, each once."""
    unique = list(dict.fromkeys(name for name in names if name))
    text = ", ".join(shown(name)[1:-1] for name in unique[:_MOST_LISTED]) or "tensors at top level alone"
    return text + (f" and {len(unique) - _MOST_LISTED} more" if len(unique) > _MOST_LISTED else "")


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"--device {name} is not there: {str(error).splitlines()[0]}.",
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
