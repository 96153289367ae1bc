"""What every reader of tensor files gives back, and how the right reader is found by content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from energydiag.discovery import discover
from energydiag.errors import UnreadableFile

_HEAD_BYTES = 16


@dataclass(frozen=True)
class TensorFile:
    """The contents of one file.

    Attributes:
        path: Where it is.
        format: Name of the format it was read as.
        contents: Tensors, numbers, text, lists and dicts of these, by name.
        metadata: Text that the format keeps beside the tensors.
    """

    path: Path
    format: str
    contents: Mapping[str, Any]
    metadata: Mapping[str, str] = field(default_factory=dict)

    def sha256(self) -> str:
        """Hash of the file's bytes, as hexadecimal text."""
        return sha256_of(self.path)


def sha256_of(path: Path) -> str:
    """Hash of a file's bytes, as hexadecimal text."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _hash(stream)


def _hash(stream: Any) -> str:
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True)
class Reader:
    """A format.

    Attributes:
        name: What it is called in messages.
        recognises: Whether a file with these first bytes is of this format (the path is there for a look inside).
        read: The file's contents.
    """

    name: str
    recognises: Callable[[bytes, Path], bool]
    read: Callable[[Path], TensorFile]


def read_tensor_file(path: Path, purpose: str) -> TensorFile:
    """Reads a file of tensors, whatever it is called.

    Args:
        path: The file.
        purpose: What it should be, for messages (``"checkpoint"``, ``"batch dump"``).

    Raises:
        UnreadableFile: It is missing, empty, truncated, of no known format, or holds more than plain tensors.
    """
    try:
        if not path.exists():
            raise UnreadableFile(f"No {purpose} at {path}.", "check the path (`ls` the folder it should be in).")
        if path.is_dir():
            raise UnreadableFile(
                f"{path} is a folder, but a {purpose} file is expected.", f"name the {purpose} inside it."
            )
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError as error:
        raise UnreadableFile(
            f"{path} cannot be read: {error.strerror}.", "check its name and its permissions."
        ) from error
    if not head:
        raise UnreadableFile(f"{path} is empty (0 bytes).", f"write the {purpose} again; its writer was cut off.")
    readers: dict[str, Reader] = discover("energydiag.files", "READER", Reader)
    for reader in readers.values():
        if reader.recognises(head, path):
            return reader.read(path)
    known = ", ".join(sorted(readers))
    raise UnreadableFile(
        f"{path} is of no format that is read as a {purpose} ({known}).",
        "save it with safetensors.torch.save_file(tensors, path) or torch.save(tensors, path).",
    )
