"""Contexts that stay in their files until rows are asked for.

What was read of a memory-mapped file stays in memory as long as the file is open, and a dump may be larger than the
memory: files are closed when enough was read of them, and opened again when they are needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from energydiag.batch import Rows
from energydiag.batches.named import ALIASES
from energydiag.errors import UnreadableFile
from energydiag.files.tensor_file import TensorFile, read_tensor_file

_MOST_READ = 256 << 20
"""Bytes of rows, 256 MiB, after which all files are closed (a guess: opening one takes a millisecond or two)."""


@dataclass(frozen=True)
class FileRows:
    """The rows of a tensor in a file, as a part of `Rows`.

    Attributes:
        path: The file.
        name: What the tensor is called in it.
        shape: Its sizes when it was found.
        dtype: Its type.
        stamp: Which file it was: device, number, size and time of change.
    """

    path: Path
    name: str
    shape: torch.Size
    dtype: torch.dtype
    stamp: tuple[int, ...] = ()

    @property
    def device(self) -> torch.device:
        """Where rows come to be."""
        return torch.device("cpu")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Tensor) -> Tensor:
        """Copies of the rows at these positions, ``[n]`` int.

        Raises:
            UnreadableFile: The file is another one by now.
        """
        self.check()  # a mapped file that was cut off would end the process
        rows = _OPEN.tensor(self)[index]
        _OPEN.was_read(rows.numel() * rows.element_size())
        return rows

    def check(self) -> None:
        """Refuses a file that is not the one that was found.

        Raises:
            UnreadableFile: It was replaced, written to or removed.
        """
        if self.stamp and stamp_of(self.path) != self.stamp:
            raise UnreadableFile(
                f"{self.path} was changed while it was read.", "wait until its writer is done, and run this again."
            )

    def open(self) -> Tensor:
        """The memory-mapped tensor.

        Raises:
            UnreadableFile: As `__getitem__`.
        """
        with _disable_current_modes():  # who counts tensors in memory is not to count a file
            value = read_tensor_file(self.path, "batch dump").contents.get(self.name)
        if not isinstance(value, Tensor) or value.shape != self.shape or value.dtype != self.dtype:
            raise UnreadableFile(
                f"{self.path} was changed while it was read: `{self.name}` is no longer the tensor that it was.",
                "wait until its writer is done, and run this again.",
            )
        return value


def stamp_of(path: Path) -> tuple[int, ...]:
    """Which file this is, as far as the system tells; empty where there is none."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class _Open:
    """The files that are open, whose rows are read by any thread."""

    def __init__(self) -> None:
        self._tensors: dict[FileRows, Tensor] = {}
        self._read = 0

    def tensor(self, rows: FileRows) -> Tensor:
        found = self._tensors.get(rows)
        if found is None:
            found = self._tensors[rows] = rows.open()
        return found

    def was_read(self, size: int) -> None:
        self._read += size
        if self._read > _MOST_READ:  # two threads at once close them a little early or late
            self._tensors, self._read = {}, 0


_OPEN = _Open()


def left_in_file(values: Mapping[str, Tensor], file: TensorFile) -> dict[str, Tensor]:
    """The same tensors, contexts as `Rows` of their file where its format lets rows be read without the others.

    Args:
        values: By the names of `Batch`.
        file: Where they are.
    """
    if not file.mapped:
        return dict(values)
    hidden = values["hidden"]
    name = next(name for name in ("hidden", *ALIASES["hidden"]) if name in file.contents)
    rows = FileRows(file.path, name, hidden.shape, hidden.dtype, stamp_of(file.path))
    return {**in_memory(values), "hidden": Rows((rows,))}


def in_memory(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of all but the contexts: what is mapped would change with its file."""
    return {name: value if name == "hidden" else value.clone() for name, value in values.items()}


def joined(parts: Sequence[Tensor]) -> Rows:
    """Contexts of several files, one after the other, left where they are."""
    return Rows([own for part in parts for own in (part.parts if isinstance(part, Rows) else (part,))])
