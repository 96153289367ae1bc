"""What every reader of tensor files gives back, and how the right reader is found by content."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from energydiag.discovery import discover
from energydiag.errors import UnreadableFile
from energydiag.files.file_check import FileCheck, sha256_of_all
from energydiag.files.names import check_names, inside, shown

if TYPE_CHECKING:
    import torch

_HEAD_BYTES = 16


@dataclass(frozen=True)
class Stored:
    """A tensor that is still in its file.

    Attributes:
        shape: Its sizes.
        dtype: Its type.
        read: Reads it; raises `UnreadableFile` where its bytes are not what the file promises.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], torch.Tensor]


@dataclass(frozen=True)
class TensorFile:
    """The contents of one file, or of several that belong together.

    Attributes:
        path: Where it is.
        format: Name of the format it was read as.
        contents: Tensors, numbers, text, lists and dicts of these, by name; tensors are memory-mapped where the format
            allows it, or `Stored`.
        metadata: Text that the format keeps beside the tensors.
        parts: All files that it is in, in a fixed order; empty: the path alone.
        checksums: ``(bytes, CRC-32)`` of every storage, where the format keeps checksums that reading does not look at.
        mapped: Whether tensors are memory-mapped, so that opening the file again costs no reading.
    """

    path: Path
    format: str
    contents: Mapping[str, Any]
    metadata: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[Path, ...] = ()
    checksums: frozenset[tuple[int, int]] = frozenset()
    mapped: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that it is in."""
        return self.parts or (self.path,)

    def check(self) -> FileCheck:
        """Begins to hash the file, and to check it where it has checksums."""
        return FileCheck(self.files)


def sha256_of(path: Path) -> str:
    """Hash of a file's bytes, as hexadecimal text.

    Raises:
        UnreadableFile: A checksum inside is not that of its bytes.
    """
    return sha256_of_all((path,))


def _nothing(_folder: Path) -> list[Path]:
    return []


@dataclass(frozen=True)
class Reader:
    """A format.

    Attributes:
        name: What it is called in messages.
        recognises: Whether a file with these first bytes is of this format (the path is there for a look inside).
        read: The file's contents.
        entries: The files of a folder with which reading it would begin.
    """

    name: str
    recognises: Callable[[bytes, Path], bool]
    read: Callable[[Path], TensorFile]
    entries: Callable[[Path], list[Path]] = _nothing


def read_tensor_file(path: Path, purpose: str) -> TensorFile:
    """Reads a file of tensors, whatever it is called, or a folder in which several make one.

    Args:
        path: The file, or a folder with an index, with ``.metadata``, or with one file of a usual name.
        purpose: What it should be, for messages (``"checkpoint"``, ``"batch dump"``).

    Raises:
        UnreadableFile: It is missing, empty, truncated, of no known format, or holds more than plain tensors.
    """
    readers: dict[str, Reader] = discover("energydiag.files", "READER", Reader)
    try:
        if not path.exists():
            raise UnreadableFile(f"No {purpose} at {path}.", "check the path (`ls` the folder it should be in).")
        if path.is_dir():
            path = _entry(path, purpose, readers)
        str(path).encode()  # PyTorch and safetensors open no other
        if not path.is_file():  # a pipe would be waited for, a device never ends
            raise UnreadableFile(f"{path} is no plain file.", "name a file, not a pipe or a device.")
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except UnicodeEncodeError as error:
        raise UnreadableFile(
            f"{shown(str(path))} is a name that is no UTF-8, by which it cannot be opened.",
            "give the file another name.",
        ) from error
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise UnreadableFile(f"{path} cannot be read: {said}.", "check its name and its permissions.") from error
    if not head:
        raise UnreadableFile(f"{path} is empty (0 bytes).", f"write the {purpose} again; its writer was cut off.")
    for reader in readers.values():
        if reader.recognises(head, path):
            file = reader.read(path)
            check_names(file.contents.keys(), path)
            return file
    known = ", ".join(sorted(readers))
    raise UnreadableFile(
        f"{path} is of no format that is read as a {purpose} ({known}).",
        "save it with safetensors.torch.save_file(tensors, path) or torch.save(tensors, path).",
    )


def _entry(folder: Path, purpose: str, readers: Mapping[str, Reader]) -> Path:
    """The one file of a folder with which reading it begins."""
    found = sorted(path for reader in readers.values() for path in reader.entries(folder))
    if len(found) == 1:
        return folder / inside(found[0]).name
    if found:
        names = ", ".join(path.name for path in found[:4])
        raise UnreadableFile(
            f"{folder} is a folder with {len(found)} {purpose}s in it: {names}.", f"name one of them, as {found[0]}."
        )
    raise UnreadableFile(
        f"{folder} is a folder without an index of shards (*.safetensors.index.json, *.bin.index.json), without "
        "`.metadata` of torch.distributed.checkpoint and without model.safetensors or pytorch_model.bin.",
        f"name the {purpose} inside it.",
    )
