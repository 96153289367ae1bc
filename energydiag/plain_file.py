"""Files that are read: plain ones, and not larger than their kind may be."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from energydiag.errors import UnreadableFile


def read_plain(path: Path, most: int, next_step: str = "check the path.") -> bytes:
    """The bytes of a file.

    Args:
        path: Of the file.
        most: Bytes that are read at most.
        next_step: What to do where it is too large.

    Raises:
        UnreadableFile: It is missing, larger, or no plain file: a pipe would be waited for, a device never ends.
    """
    with open_plain(path, most, next_step) as stream:
        return stream.read(most + 1)


@contextmanager
def open_plain(path: Path, most: int, next_step: str = "check the path.") -> Iterator[BinaryIO]:
    """The file, open for reading from its first byte; arguments and errors as `read_plain`."""
    try:
        # a pipe that nobody writes to would keep the usual way of opening waiting
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(path, flags), "rb") as stream:
            found = os.fstat(stream.fileno())
            if stat.S_ISDIR(found.st_mode):
                raise UnreadableFile(f"{path} is a folder, but a file is expected.", "name the file inside it.")
            if not stat.S_ISREG(found.st_mode):
                raise UnreadableFile(f"{path} is no plain file.", "name a file, not a pipe or a device.")
            if found.st_size > most:
                raise UnreadableFile(f"{path} has {found.st_size >> 20} MiB; at most {most >> 20} are read.", next_step)
            yield stream
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise UnreadableFile(f"{path} cannot be read: {said}.", "check the path.") from error
