"""From a file, or from a folder of shards, to a checked `Batch`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from energydiag.batch import Batch
from energydiag.batches.named import as_batch, checked, resolve
from energydiag.batches.shards import ShardFolder, read_shards
from energydiag.files.tensor_file import TensorFile, read_tensor_file


@dataclass(frozen=True)
class LoadedBatch:
    """A batch and the file or the folder it came from."""

    batch: Batch
    file: TensorFile | ShardFolder
    unknown: tuple[str, ...]


def load_batch(path: str | Path) -> Batch:
    """The batch that a dump holds.

    Args:
        path: A ``.safetensors``, ``.pt`` or ``.npz`` file; the content decides, not the name. Or a folder of such files
            with their index (see `energydiag.dump`); contexts then stay in their files until rows are asked for.

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
    named, unknown = resolve(file.contents, path)
    return LoadedBatch(as_batch(checked(named, path)), file, unknown)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # who reads it as a file says what is wrong
        return False
