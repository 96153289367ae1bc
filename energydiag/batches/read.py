"""From a file, or from a folder of shards, to a checked `Batch`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from energydiag.batch import Batch
from energydiag.batches.file_rows import left_in_file
from energydiag.batches.named import as_batch, checked, resolve
from energydiag.batches.shards import ShardFolder, contents_of, read_shards
from energydiag.files.file_check import FileCheck
from energydiag.files.tensor_file import TensorFile, read_tensor_file

_LARGE = 256 << 20
"""Bytes of contexts, 256 MiB, that a file may hold to be simply mapped (a guess: what a batch may take in memory)."""


@dataclass(frozen=True)
class LoadedBatch:
    """A batch and the file or the folder it came from."""

    batch: Batch
    file: TensorFile | ShardFolder
    unknown: tuple[str, ...]

    def check(self) -> FileCheck:
        """Begins to hash what the batch came from, and to check it where it has checksums."""
        return self.file.check()


def load_batch(path: str | Path) -> Batch:
    """The batch that a dump holds.

    Args:
        path: A ``.safetensors``, ``.pt`` or ``.npz`` file; the content decides, not the name. Or a folder of such files
            with their index (see `energydiag.dump`). Contexts of a folder or of a large file stay there until rows
            are asked for, except in compressed ``.npz`` and in the form that torch.save wrote before 1.6.

    Raises:
        UnreadableFile: A file is missing, truncated, of no known format or not safe to read.
        InvalidBatch: Something is missing in it, or shapes do not fit each other.
    """
    return read_batch(Path(path)).batch


def read_batch(path: Path) -> LoadedBatch:
    """As `load_batch`, with what the file says of itself."""
    if _is_folder(path):
        found = read_shards(path)
        return LoadedBatch(as_batch(found.values), found.folder, found.unknown)
    file = read_tensor_file(path, "batch dump")
    named, unknown = resolve(contents_of(file), path)
    values = checked(named, path)
    if values["hidden"].nbytes > _LARGE:
        values = left_in_file(values, file)
    else:  # what is mapped would change with its file, and end the process where that is cut off
        values = {name: value.clone() for name, value in values.items()}
    return LoadedBatch(as_batch(values), replace(file, contents={}), unknown)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # who reads it as a file says what is wrong
        return False
