"""From named tensors, in a file or in hand, to a `Batch` whose shapes fit each other.

Shapes: N samples, S context tokens, D context width, H action steps, A action dimensions, L policy layers,
M supplied negatives.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from energydiag.batch import Batch
from energydiag.errors import InvalidBatch, first_line
from energydiag.precision import kept

ALIASES: dict[str, tuple[str, ...]] = {
    "hidden": ("h", "hN", "context_hidden", "hidden_states"),
    "actions": ("a", "a_pos", "ground_truth_actions"),
    "pad_mask": ("energy_mask",),
    "layer_actions": (),
    "policy_actions": ("a_bc",),
    "negatives": ("a_negs",),
    "episode": ("episode_id",),
    "task": ("task_id",),
    "step": (),
    "energies": (),
    "energies_of": (),
}
"""Names that a dump may use instead; ``attention_mask`` (True = visible) is inverted into ``pad_mask``."""

_SMALL = 64 << 20
_REPEATED = 4
"""Above 64 MiB, how often a tensor may use its bytes (guesses): a mask for all samples is small, a chunk is not."""

_SHA256_DIGITS = 64

_WHAT_A_DUMP_HOLDS = "a dump holds at least `hidden` [N, S, D] and `actions` [N, H, A]"

Layout = dict[str, tuple[list[int], torch.dtype]]
"""Every tensor's sizes after the first, and its type, by name."""


def resolve(contents: Mapping[str, Any], path: Path | str) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Tensors by the names of `Batch`, and the keys that mean nothing.

    Args:
        contents: By any of the names in `ALIASES`.
        path: Where they are, for messages.

    Raises:
        InvalidBatch: Something stands twice, or is no tensor.
    """
    named: dict[str, Tensor] = {}
    used: set[str] = set()
    for key, aliases in ALIASES.items():
        present = [name for name in (key, *aliases) if name in contents]
        if len(present) > 1:
            raise InvalidBatch(
                f"{path} holds `{present[0]}` and `{present[1]}`, which mean the same.",
                "keep one of them in the dump.",
            )
        if present:
            read = _whose if key == "energies_of" else _tensor
            named[key] = read(contents[present[0]], present[0], path)
            used.add(present[0])
    if "attention_mask" in contents and "pad_mask" not in named:
        named["pad_mask"] = ~_tensor(contents["attention_mask"], "attention_mask", path).bool()
        used.add("attention_mask")
    return named, tuple(sorted(set(contents) - used))


def _tensor(value: Any, name: str, path: Path | str) -> Tensor:
    layers = isinstance(value, list | tuple) and value and all(isinstance(item, Tensor) for item in value)
    if name == "layer_actions" and layers:
        for item in value:
            _plain(item, name, path)
        _backed(value, name, path)
        try:
            return torch.stack(list(value), dim=1)
        except (RuntimeError, IndexError) as error:
            raise InvalidBatch(
                f"`{name}` in {path} is a list of tensors that cannot be stacked: {first_line(error)}.",
                "give every layer the same shape [N, H, A].",
            ) from error
    if not isinstance(value, Tensor):
        raise InvalidBatch(f"`{name}` in {path} is a {type(value).__name__}, not a tensor.", _WHAT_A_DUMP_HOLDS + ".")
    _plain(value, name, path)
    _backed([value], name, path)
    return value


def _whose(value: Any, name: str, path: Path | str) -> Tensor:
    """Whose energies they are: a step, or 32 bytes, however it was written down; for all samples or for each."""
    if isinstance(value, Integral) and not isinstance(value, bool) and 0 <= int(value) < 2**63:
        return torch.tensor(int(value))
    if isinstance(value, Tensor) and value.dim() == 0 and not value.is_floating_point():
        return value.long()
    if isinstance(value, str) and value.isdecimal() and len(value) < _SHA256_DIGITS:
        return torch.tensor(int(value[:18]))
    if isinstance(value, str) and re.fullmatch(rf"[0-9a-fA-F]{{{_SHA256_DIGITS}}}", value):
        return torch.tensor(list(bytes.fromhex(value)), dtype=torch.uint8)
    if isinstance(value, Tensor) and not value.is_floating_point() and not value.is_complex():
        return _tensor(value, name, path)
    shown = f"a tensor of {value.dtype}" if isinstance(value, Tensor) else repr(value)[:80]
    raise InvalidBatch(
        f"`{name}` in {path} must be the SHA-256 of a checkpoint (64 hexadecimal digits) or its step, not {shown}.",
        "give the step as a whole number, or what `sha256sum CHECKPOINT` prints; or leave it out.",
    )


def _plain(value: Tensor, name: str, path: Path | str) -> None:
    if value.layout != torch.strided or value.is_meta or value.is_quantized:
        raise InvalidBatch(f"`{name}` in {path} is no plain dense tensor.", "dump it dense, with its values.")


def _backed(values: Sequence[Tensor], name: str, path: Path | str) -> None:
    """Refuses tensors that repeat a few bytes so often (`Tensor.expand`) that nobody could hold them."""
    size = sum(value.numel() * value.element_size() for value in values)
    if size <= _SMALL:
        return
    stored = {storage.data_ptr(): storage.nbytes() for storage in (value.untyped_storage() for value in values)}
    if size > _REPEATED * sum(stored.values()):
        raise InvalidBatch(
            f"`{name}` in {path} is {list(values[0].shape)}, {size >> 20} MiB made of {sum(stored.values()) >> 20}.",
            "dump it with its own values: tensor.clone() instead of tensor.expand().",
        )


def checked(named: Mapping[str, Tensor], path: Path | str) -> dict[str, Tensor]:
    """The same tensors in the types of `Batch`, if their shapes fit each other.

    Args:
        named: By the names of `Batch`.
        path: Where they are, for messages.

    Raises:
        InvalidBatch: Something is missing, empty, of another shape or of a type that cannot be.
    """
    for key in ("hidden", "actions"):
        if key not in named:
            also = f" (or {', '.join(ALIASES[key])})" if ALIASES[key] else ""
            raise InvalidBatch(f"{path} has no `{key}`{also}.", _WHAT_A_DUMP_HOLDS + "; add it and dump again.")
    hidden, actions = named["hidden"], named["actions"]
    samples = hidden.shape[0] if hidden.dim() else 0
    if samples == 0 or 0 in hidden.shape or 0 in actions.shape:
        raise InvalidBatch(
            f"{path} is empty: `hidden` is {list(hidden.shape)}, `actions` is {list(actions.shape)}.",
            "dump at least two samples.",
        )
    if hidden.dim() < 2:
        raise InvalidBatch(
            f"`hidden` in {path} must be [N, S, D] or [N, D], or [N, …] as images are; it is {list(hidden.shape)}.",
            "dump what the energy head is given as context, all samples in one tensor.",
        )
    if actions.dim() not in (2, 3) or actions.shape[0] != samples:
        raise _misshapen(path, "actions", f"[{samples}, H, A] or [{samples}, A]", actions)
    named = {**named, **_about_energies(named, samples)}
    chunk = list(actions.shape[1:])
    tokens = hidden.shape[1] if hidden.dim() == 3 else None
    if "pad_mask" in named and tokens is None and hidden.dim() != 2:
        raise InvalidBatch(
            f"`hidden` in {path} must be [N, S, D] or [N, D] where there is a `pad_mask`; it is {list(hidden.shape)}.",
            "leave the mask out, or dump the contexts as tokens [N, S, D].",
        )
    expected: dict[str, list[int | None]] = {
        "pad_mask": [samples, tokens],
        "policy_actions": [samples, *chunk],
        "layer_actions": [samples, None, *chunk],
        "negatives": [samples, None, *chunk],
        "episode": [samples],
        "task": [samples],
        "step": [samples],
        "energies": [samples],
    }
    for key, shape in expected.items():
        value = named.get(key)
        if value is not None and not _fits(value, shape):
            raise _misshapen(path, key, "[" + ", ".join("any" if s is None else str(s) for s in shape) + "]", value)
    if "energies_of" in named:
        _check_whose(named, path)
    for key in ("hidden", "actions", "policy_actions", "layer_actions", "negatives", "energies"):
        if key in named and not named[key].is_floating_point():
            raise InvalidBatch(
                f"`{key}` in {path} is {named[key].dtype}, not floating point.",
                "dump what the model is given: as float, scaled as in training.",
            )
    return _converted(named)


def _about_energies(named: Mapping[str, Tensor], samples: int) -> dict[str, Tensor]:
    """Energies ``[N]`` of ``[N, 1]``, and whose they are for every sample."""
    found = {}
    energies, whose = named.get("energies"), named.get("energies_of")
    if energies is not None and energies.dim() == 2 and energies.shape[1] == 1:
        found["energies"] = energies[:, 0]
    if whose is not None and (whose.dim() == 0 or (whose.dtype == torch.uint8 and whose.dim() == 1)):
        found["energies_of"] = whose[None].repeat(samples, *[1] * whose.dim())
    return found


def _check_whose(named: Mapping[str, Tensor], path: Path | str) -> None:
    whose, samples = named["energies_of"], named["hidden"].shape[0]
    if "energies" not in named:
        raise InvalidBatch(f"{path} has `energies_of` and no `energies`.", "dump both, or neither.")
    if whose.dtype == torch.uint8:
        if list(whose.shape) != [samples, _SHA256_DIGITS // 2]:
            raise _misshapen(path, "energies_of", f"[{samples}, {_SHA256_DIGITS // 2}] bytes", whose)
    elif list(whose.shape) != [samples]:
        raise _misshapen(path, "energies_of", f"[{samples}] steps", whose)
    if bool((whose != whose[0]).any()):
        raise InvalidBatch(
            f"The `energies` in {path} are of several checkpoints by `energies_of`.",
            "dump the energies of one checkpoint; one dump of them serves many.",
        )


def _fits(value: Tensor, shape: list[int | None]) -> bool:
    return value.dim() == len(shape) and all(
        got > 0 if want is None else want == got for want, got in zip(shape, value.shape, strict=True)
    )


def _misshapen(path: Path | str, key: str, expected: str, value: Tensor) -> InvalidBatch:
    return InvalidBatch(
        f"`{key}` in {path} must be {expected}, as `hidden` and `actions` say; it is {list(value.shape)}.",
        f"dump `{key}` for the same samples as `hidden`.",
    )


_ACTIONS = ("actions", "policy_actions", "layer_actions", "negatives")


def _converted(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    values = dict(named)
    if "pad_mask" in values:
        values["pad_mask"] = values["pad_mask"].bool()
    for key in _ACTIONS:
        if key in values:
            values[key] = kept(values[key])
    for key in ("episode", "task", "step"):
        if key in values:
            values[key] = values[key].long()
    if "energies_of" in values and values["energies_of"].dtype != torch.uint8:
        values["energies_of"] = values["energies_of"].long()
    return values


def as_batch(values: Mapping[str, Tensor]) -> Batch:
    """The batch of tensors that were `checked`; the last layer's actions are the policy's where none are there."""
    if "policy_actions" in values or "layer_actions" not in values:
        return Batch(**values)
    return Batch(**values, policy_actions=values["layer_actions"][:, -1])


def layout(values: Mapping[str, Tensor]) -> Layout:
    """What tensors must have in common to be rows of one dump; actions in float32 and in float64 fit together."""

    def dtype(name: str, value: Tensor) -> torch.dtype:
        return torch.float32 if name in _ACTIONS and value.dtype == torch.float64 else value.dtype

    return {name: (list(value.shape[1:]), dtype(name, value)) for name, value in values.items()}


def difference(first: Layout, other: Layout) -> str:
    """The first thing in which another layout differs from the first one, as a predicate; empty where they agree."""
    for name in first | other:
        if name not in other:
            return f"has no `{name}`"
        if name not in first:
            return f"has `{name}` besides"
        if first[name] != other[name]:
            return f"has `{name}` as {_described(other[name])}, not {_described(first[name])}"
    return ""


def _described(one: tuple[list[int], torch.dtype]) -> str:
    sizes, dtype = one
    return f"[{', '.join(['N', *map(str, sizes)])}] of {str(dtype).removeprefix('torch.')}"
