"""From a checkpoint file to sets of named tensors and what the file says of the model they belong to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from energydiag.errors import InvalidCheckpoint, UnreadableFile
from energydiag.files.allowed import allowing
from energydiag.files.file_check import FileCheck, damaged
from energydiag.files.names import MOST_NAMES, shown
from energydiag.files.tensor_file import Stored, TensorFile, read_tensor_file
from energydiag.files.torch_storage import is_whole

SETTINGS = (
    "architecture",
    "head",
    "pool",
    "nhead",
    "tau",
    "sign",
    "mask",
    "candidates",
    "surgery",
    "replaced_head",
    "fixes",
)
"""Metadata keys that tell how a model is rebuilt and was trained."""

_DEPTH = 3
"""Dicts around a state dict: trainers put it into one or two, callbacks into a third."""

_MOST_SETS = 1000
"""State dicts in a checkpoint (heuristic): trainers save a few, populations of agents some hundred."""

_MOST_ITEMS = 2 * MOST_NAMES
"""Of all dicts together, where one that stands in many places counts in each: a few bytes make as many as they like."""

_LONGEST_SETTING = 4000
"""Characters of a setting (heuristic); Python makes no number of more than 4300 digits."""

_OPTIMISER = re.compile(r"(.*_)?optim(i[sz]er)?s?(_.*)?|exp_avg(_sq)?|momentum(_buffer)?", re.IGNORECASE)
_AVERAGE = re.compile(r"(.*_)?(ema|swa|avg|averaged?|averaging|shadow|polyak|teacher|target)(_.*)?", re.IGNORECASE)
_USUAL = ("", "model", "state_dict", "model_state_dict", "module")


@dataclass(frozen=True)
class TensorSet:
    """Tensors that stand in one dict of a checkpoint.

    Attributes:
        name: The dicts around them, with dots between; empty at top level.
        outlines: By key; what is still in the file has its shape and type, and no values.
        file: Where they are.
    """

    name: str
    outlines: Mapping[str, Tensor]
    _values: Mapping[str, Tensor | Stored]
    file: TensorFile

    def read(self, keys: Mapping[str, str]) -> dict[str, Tensor]:
        """Tensors by new names.

        Args:
            keys: The key here of each name.

        Raises:
            UnreadableFile: Their bytes are damaged.
            InvalidCheckpoint: One is not plain and dense, or larger than its file.
        """
        most = sum(path.stat().st_size for path in self.file.files)
        found = {}
        for name, key in keys.items():
            value = self._values[key]
            tensor = value.read() if isinstance(value, Stored) else value
            if not _is_plain(tensor):
                raise InvalidCheckpoint(
                    f"{self.file.path} holds tensors that are not plain and dense: {shown(key)}.",
                    "save them dense, with their values.",
                )
            if tensor.numel() * tensor.element_size() > most:
                raise InvalidCheckpoint(
                    f"{shown(key)} in {self.file.path} is {list(tensor.shape)}, larger than its file.",
                    "save it with its own values: tensor.clone() instead of tensor.expand().",
                )
            if not is_whole(tensor, self.file.checksums):
                raise damaged(self.file.path, shown(key))
            found[name] = tensor
        storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in found.values()}
        if sum(storages.values()) > most:  # torch enlarges a storage that is too small for the sizes that a file claims
            raise InvalidCheckpoint(
                f"The tensors in {self.file.path} claim more bytes than its {most}.", "copy or save it again."
            )
        return found

    def rank(self, prefix: str = "") -> tuple[Any, ...]:
        """The smaller, the sooner it is taken: weights before averages of them, usual names first, short prefixes."""
        steps = [*self.name.split("."), *prefix.split(".")]
        average = any(_AVERAGE.fullmatch(step) for step in steps)
        usual = _USUAL.index(self.name) if self.name in _USUAL else len(_USUAL)
        return average, usual, len(steps), len(prefix), self.name, prefix


@dataclass(frozen=True)
class Weights:
    """The tensors of one checkpoint.

    Attributes:
        sets: In the order in which they are taken where several fit.
        settings: Those of `SETTINGS` that the file's metadata holds.
        file: Where they came from.
        check: Of the file's bytes, under way.
    """

    sets: tuple[TensorSet, ...]
    settings: Mapping[str, str]
    file: TensorFile
    check: FileCheck


def read_weights(path: str | Path, allow_globals: Sequence[str] = ()) -> Weights:
    """The tensors of a checkpoint.

    Args:
        path: A state dict of ``torch.save`` or safetensors, in one file or several, or what a trainer saved, with state
            dicts in dicts up to three deep; the content decides, not the name. States of optimisers are left out.
        allow_globals: Dotted names of classes that a pickle may use; they are imported.

    Raises:
        UnreadableFile: The file is missing, truncated, of no known format or not safe to read.
        InvalidCheckpoint: There are no tensors in it.
        UsageError: A class cannot be imported.
    """
    with allowing(allow_globals):
        file = read_tensor_file(Path(path), "checkpoint")
    sets = tuple(sorted((_set(name, values, file) for name, values in _state_dicts(file)), key=TensorSet.rank))
    if not sets:
        raise InvalidCheckpoint(
            f"{path} holds no tensors of a model (keys: {_listed(file.contents)}).",
            "save the model's state dict: torch.save(model.state_dict(), path).",
        )
    settings = {key: file.metadata[key] for key in SETTINGS if key in file.metadata}
    long = next((key for key, value in settings.items() if len(value) > _LONGEST_SETTING), None)
    if long is not None:
        raise InvalidCheckpoint(
            f"`{long}` in the metadata of {path} has {len(settings[long])} characters.",
            "save the checkpoint without it, and say it by an option.",
        )
    return Weights(sets, settings, file, file.check())


def _is_plain(tensor: Tensor) -> bool:
    """Whether it is dense, has values, and is of a type that PyTorch computes with."""
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
        return False
    try:
        torch.empty(1).copy_(torch.empty(1, dtype=tensor.dtype))
    except RuntimeError:  # of one to seven bits
        return False
    return True


def _state_dicts(file: TensorFile) -> Iterator[tuple[str, dict[str, Tensor | Stored]]]:
    """Every dict with tensors in it, but for optimisers'."""
    items = sets = 0
    for name, contents in _dicts(file.contents):
        items += 1 + len(contents)
        own = {str(key): value for key, value in contents.items() if isinstance(value, Tensor | Stored)}
        sets += bool(own)
        if items > _MOST_ITEMS or sets > _MOST_SETS:
            raise UnreadableFile(
                f"{file.path} holds more than {_MOST_SETS} state dicts, or dicts of more than {_MOST_ITEMS} things.",
                "save the energy model's state dict alone: torch.save(model.state_dict(), path).",
            )
        if own:
            yield name, own


def _dicts(contents: Mapping[Any, Any], outer: tuple[str, ...] = ()) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """The dict and those in it, each with the names of those around it."""
    if "param_groups" in contents and "state" in contents:
        return
    yield ".".join(outer), contents
    if len(outer) == _DEPTH:
        return
    for key, value in contents.items():
        if isinstance(value, Mapping) and not _OPTIMISER.fullmatch(str(key)):
            yield from _dicts(value, (*outer, str(key)))


def _set(name: str, values: Mapping[str, Tensor | Stored], file: TensorFile) -> TensorSet:
    outlines = {
        key: torch.empty(value.shape, dtype=value.dtype, device="meta") if isinstance(value, Stored) else value
        for key, value in values.items()
    }
    return TensorSet(name, outlines, values, file)


def _listed(contents: Iterable[str], most: int = 6) -> str:
    keys = [shown(key) for key in contents]
    return ", ".join(keys[:most]) + (f" and {len(keys) - most} more" if len(keys) > most else "") or "none"
