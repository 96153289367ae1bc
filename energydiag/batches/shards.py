"""A dump in several files: a folder of shards, put together without loading the contexts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from energydiag.batches.file_rows import joined, left_in_file
from energydiag.batches.index import COPY_AGAIN, FORMAT, Shard, index_files, read_index
from energydiag.batches.named import checked, difference, layout, resolve
from energydiag.errors import InvalidBatch, UnreadableFile
from energydiag.files.file_check import FileCheck
from energydiag.files.names import inside
from energydiag.files.pickle_scan import read_together
from energydiag.files.tensor_file import TensorFile, read_tensor_file

_SAME = "every shard needs the same tensors, of the same type and sizes; dump them with one BatchWriter."


@dataclass(frozen=True)
class ShardFolder:
    """Where a dump in several files is.

    Attributes:
        path: The folder.
        shards: In the order of their samples.
        format: What this kind of dump is called.
    """

    path: Path
    shards: tuple[Shard, ...]
    format: str = FORMAT

    def check(self) -> FileCheck:
        """Begins to hash the shards and to compare them with what the index tells."""
        return FileCheck([self.path / shard.file for shard in self.shards], [shard.sha256 for shard in self.shards])


@dataclass(frozen=True)
class Shards:
    """What a folder holds.

    Attributes:
        values: By the names of `Batch`, checked; contexts are `Rows`.
        folder: Where they are.
        unknown: Keys that mean nothing.
    """

    values: dict[str, Tensor]
    folder: ShardFolder
    unknown: tuple[str, ...]


def read_shards(path: Path) -> Shards:
    """The dump in a folder; contexts stay in their files, except in compressed ``.npz`` and torch.save's old form.

    Raises:
        UnreadableFile: There is no index, or a file is missing, damaged, of no known format or outside of the folder.
        InvalidBatch: The index says something that it must not, or shards do not fit it or each other.
    """
    with read_together():
        return _read(ShardFolder(path, list_shards(path)))


def _read(folder: ShardFolder) -> Shards:
    path = folder.path
    parts: list[dict[str, Tensor]] = []
    keys: set[str] = set()
    for shard in folder.shards:
        place = path / shard.file
        file = read_tensor_file(inside(place, COPY_AGAIN), "batch dump")
        named, unknown = resolve(contents_of(file), place)
        values = checked(named, place)
        if len(values["hidden"]) != shard.samples:
            raise InvalidBatch(
                f"{place} holds {len(values['hidden'])} samples, but the index says {shard.samples}.",
                "copy or write the dump again.",
            )
        first = parts[0] if parts else values
        differs = difference(layout(first), layout(values))
        if differs:
            raise InvalidBatch(f"{place} {differs}, as {folder.shards[0].file} has it.", _SAME)
        keys = keys or set(file.contents)
        if keys != set(file.contents):
            name = sorted(keys ^ set(file.contents))[0]
            raise InvalidBatch(f"`{name}` is in one of {folder.shards[0].file} and {shard.file} alone.", _SAME)
        parts.append(left_in_file(values, file))
    together = {name: [part[name] for part in parts] for name in parts[0]}
    contexts = {"hidden": joined(together.pop("hidden"))}
    return Shards(contexts | {name: torch.cat(each) for name, each in together.items()}, folder, unknown)


def contents_of(file: TensorFile) -> Mapping[str, Any]:
    """What a file of a dump holds; whose energies it holds may stand in its metadata."""
    if "energies_of" not in file.metadata or "energies_of" in file.contents:
        return file.contents
    return {**file.contents, "energies_of": file.metadata["energies_of"]}


def list_shards(path: Path) -> tuple[Shard, ...]:
    """The shards of all indexes in a folder, at least one and none twice.

    Raises:
        EnergydiagError: As `read_shards`.
    """
    indexes = index_files(path)
    if not indexes:
        raise UnreadableFile(
            f"{path} is a folder without index.json, so it is no dump.",
            "name the dump's file inside it, or write a folder of shards with energydiag.dump.BatchWriter.",
        )
    shards = tuple(shard for index in indexes for shard in read_index(index))
    if not shards:
        raise InvalidBatch(f"The dump in {path} holds no samples yet.", "wait until its writer has written a shard.")
    seen: dict[Path, str] = {}
    for shard in shards:
        target = inside(path / shard.file, COPY_AGAIN)
        if target in seen:
            raise InvalidBatch(
                f"The index of {path} names the same file twice: {seen[target]} and {shard.file}.",
                "name every shard once.",
            )
        seen[target] = shard.file
    return shards
