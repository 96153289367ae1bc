"""Dumps written while a policy runs or trains, in three lines of a training script.

    with energydiag.dump.BatchWriter("dump/") as writer:
        for ...:
            writer.add(hidden=h, actions=a, pad_mask=m, layer_actions=layers, episode=episode)

The folder is then what ``--batch`` and `energydiag.load_batch` take. It fills with one shard after another; whatever
happens to the process, what was written so far is a dump.

Shapes: n samples of one call, S context tokens, D context width, H action steps, A action dimensions, L policy layers,
M supplied negatives.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from energydiag.atomic import whole_file, write_text
from energydiag.batches.index import (
    MOST_WRITERS,
    Shard,
    index_files,
    index_name,
    index_text,
    read_index,
    shard_name,
)
from energydiag.batches.named import ALIASES, Layout, checked, difference, layout, resolve
from energydiag.batches.shards import read_shards
from energydiag.errors import InvalidBatch, UsageError, first_line
from energydiag.files.tensor_file import sha256_of
from energydiag.folder_lock import FolderLock

__all__ = ["BatchWriter"]


class BatchWriter:
    """Writes samples into a folder of shards, holding one shard in memory.

    A shard is written as soon as it is full, then the index that names it; both appear whole or not at all. Leaving the
    ``with`` block writes the rest. Leaving it by an error does not: the shards that were full are the dump.

    Several processes may write into one folder, each with its own ``rank``: their files have names of their own, and
    reading puts them together in the order of the ranks. A second writer of the same rank is refused while the first is
    at work.

    Args:
        folder: Where the dump shall be; it is made if need be.
        shard_samples: Samples in a shard. A shard is held in memory, so take fewer where contexts are large.
        append: Go on with the dump that is in the folder.
        rank: Which of the writing processes this is.
        world_size: How many there are.

    Raises:
        UsageError: The folder holds a dump and ``append`` is not asked for, it cannot be made, or a number cannot be.
        EnergydiagError: The dump to go on with cannot be read.
    """

    def __init__(
        self,
        folder: str | Path,
        shard_samples: int = 1024,
        *,
        append: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if shard_samples < 1:
            raise UsageError(f"A shard holds one sample at least, not {shard_samples}.", "leave it at 1024.")
        if not 0 <= rank < world_size <= MOST_WRITERS:
            raise UsageError(
                f"The rank must be from 0 to world_size − 1, and that at most {MOST_WRITERS - 1}; "
                f"it is {rank} of {world_size}.",
                "give torch.distributed.get_rank() and get_world_size().",
            )
        self.folder = Path(folder)
        self.shard_samples = shard_samples
        self._writer = (rank, world_size)
        self._index = self.folder / index_name(rank, world_size)
        self._shards: tuple[Shard, ...] = ()
        self._names: set[str] = set()
        self._buffers: dict[str, Tensor] = {}
        self._filled = 0
        self._adds = 0
        self._closed = False
        self._first = self._begin(append)

    def _begin(self, append: bool) -> Layout | None:
        """Makes the folder fit to be written to; the layout of the samples to go on with, None where none are there."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"{self.folder} cannot be made: {error.strerror}.", "name a folder that can be written."
            ) from error
        self._lock = FolderLock(self.folder, self._index.name, "a dump")
        try:
            return self._known(append)
        except BaseException:
            self._lock.release()
            raise

    def _known(self, append: bool) -> Layout | None:
        """What is in the folder already: the layout of its samples, or None."""
        there = index_files(self.folder)
        if not append:
            beside = f"-of-{self._writer[1]:05d}.json"  # another rank of the same job may have begun already
            for path in there:
                if path == self._index or not path.name.endswith(beside):
                    raise UsageError(
                        f"{self.folder} holds a dump already ({path.name}).",
                        "name an empty folder, or go on with what is there: BatchWriter(…, append=True).",
                    )
        self._sweep()
        if not append or not there:
            return None
        found = read_shards(self.folder)
        self._names = {shard.file for shard in found.folder.shards}
        self._shards = read_index(self._index) if self._index in there else ()
        return layout(found.values)

    def _sweep(self) -> None:
        """Removes what a kill in the middle of writing has left: all that is hidden and was to become this writer's."""
        shards = shard_name(*self._writer, 0).replace("00000.safetensors", "[0-9][0-9][0-9][0-9][0-9].safetensors")
        try:
            for pattern in (f".{shards}.*", f".{self._index.name}.*"):
                for path in self.folder.glob(pattern):
                    if path.is_dir() and not path.is_symlink():
                        shutil.rmtree(path)
                    else:
                        path.unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(
                f"{self.folder} cannot be tidied up: {error.strerror}.", "name a folder that can be written."
            ) from error

    def add(self, **values: Any) -> None:
        """Adds n samples; they are copied, so the tensors may be used for something else at once.

        Args:
            **values: Tensors or NumPy arrays of any device and floating type, by the names that a dump may use:
                ``hidden`` ``[n, S, D]`` and ``actions`` ``[n, H, A]`` at least, then ``pad_mask`` or
                ``attention_mask`` ``[n, S]``, ``layer_actions`` ``[n, L, H, A]`` or a list of L tensors,
                ``policy_actions``, ``negatives`` ``[n, M, H, A]``, ``episode``, ``task`` and ``step`` ``[n]``;
                ``energies`` ``[n]``, what your own code gives for these contexts and actions, and ``energies_of``, the
                SHA-256 or the step of the checkpoint that they were computed with.
                None stands for what is not there. All calls need the same ones, of the same sizes but for n.

        Raises:
            InvalidBatch: A name means nothing, or shapes do not fit each other or the first samples; nothing was added.
            UsageError: A shard cannot be written (rows that had no room are lost then), or the writer is closed.
        """
        if self._closed:
            raise UsageError(f"The dump in {self.folder} is closed.", "add inside of the `with` block.")
        self._adds += 1
        where = f"add number {self._adds}"
        given = {name: _tensors(value, name, where) for name, value in values.items() if value is not None}
        named, unknown = resolve(given, where)
        if unknown:
            raise InvalidBatch(
                f"{where} holds `{unknown[0]}`, which means nothing in a dump.",
                f"use {', '.join(ALIASES)} or attention_mask.",
            )
        if named and all(value.dim() and len(value) == 0 for value in named.values()):
            return
        samples = checked(named, where)
        found = layout(samples)
        differs = difference(self._first or found, found)
        if differs:
            raise InvalidBatch(
                f"{where} {differs}, as the first samples of {self.folder} have it.",
                "add the same tensors every time; pad contexts to one length and hide the rest by `pad_mask`.",
            )
        self._first = found
        self._keep(samples)

    def close(self) -> None:
        """Writes the samples that do not fill a shard; nothing can be added any more.

        Raises:
            UsageError: The shard cannot be written.
        """
        self._flush()
        self._end()

    def __enter__(self) -> BatchWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._end()

    def _end(self) -> None:
        self._lock.release()
        self._closed = True
        self._buffers = {}
        self._filled = 0

    def _keep(self, samples: dict[str, Tensor]) -> None:
        start, end = 0, len(samples["hidden"])
        while start < end:
            if self._filled == self.shard_samples:  # it could not be written before
                self._flush()
            count = min(end - start, self.shard_samples - self._filled)
            for name, value in samples.items():
                if name not in self._buffers:
                    self._buffers[name] = _memory((self.shard_samples, *value.shape[1:]), value.dtype)
                self._buffers[name][self._filled : self._filled + count].copy_(value[start : start + count])
            self._filled += count
            start += count
            if self._filled == self.shard_samples:
                self._flush()

    def _flush(self) -> None:
        if not self._filled:
            return
        number = len(self._shards)
        while (name := shard_name(*self._writer, number)) in self._names:
            number += 1
        with whole_file(self.folder / name) as temporary:
            # safetensors puts a file of its own beside the one that it writes: in a folder that the sweep knows
            with TemporaryDirectory(prefix=f".{name}.", dir=self.folder) as scratch:
                try:
                    save_file({key: rows[: self._filled] for key, rows in self._buffers.items()}, Path(scratch, name))
                except SafetensorError as error:  # a full disk, which `whole_file` tells
                    raise OSError(first_line(error)) from error
                Path(scratch, name).replace(temporary)
            digest = sha256_of(temporary)
        shards = (*self._shards, Shard(name, self._filled, digest))
        write_text(self._index, index_text(shards))
        self._shards = shards
        self._names.add(name)
        self._filled = 0


def _memory(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Room on the CPU that may be written to anywhere, whatever mode and default device the caller is in."""
    with torch.inference_mode(False):
        return torch.empty(shape, dtype=dtype, device="cpu")


def _tensors(value: Any, name: str, where: str) -> Any:
    """Tensors without their history, also for NumPy arrays and in lists; anything else as it is."""
    if isinstance(value, list | tuple):
        return [_tensors(one, name, where) for one in value]
    if isinstance(value, np.ndarray):
        try:
            return torch.from_numpy(np.require(value, requirements=["C", "W"]))
        except (TypeError, ValueError) as error:
            raise InvalidBatch(
                f"`{name}` in {where} is an array of {value.dtype}: {first_line(error)}.", "convert it to numbers."
            ) from error
    return value.detach() if isinstance(value, Tensor) else value
