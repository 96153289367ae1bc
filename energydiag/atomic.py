"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from energydiag.errors import UsageError

_UNFINISHED = ".unfinished-"


def is_unfinished(name: str) -> bool:
    """Whether this is the name of a file that was being written."""
    return name.startswith(".") and _UNFINISHED in name


def sweep(folder: Path) -> None:
    """Removes, at any depth, what a kill in the middle of writing has left behind.

    Raises:
        UsageError: Something in it cannot be removed.
    """
    try:
        for path in folder.rglob(".*"):
            if is_unfinished(path.name):
                path.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be tidied up: {error.strerror or error}.", "name a folder that can be written."
        ) from error


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary file in the target's folder, which takes the target's name when the block ends without an error.

    Args:
        path: Where the file shall be; its folder is made if need be.

    Raises:
        UsageError: The folder cannot be written to, or the disk is full; the target is then as it was.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = _mode_of(path)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}{_UNFINISHED}", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror or error}.",
            "name another place, or free space and try again.",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text, whole or not at all.

    Raises:
        UsageError: As `whole_file`.
    """
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_with(path: Path, write: Callable[[Path], object]) -> None:
    """Lets ``write`` make a file under a temporary name, then gives it its own.

    Raises:
        UsageError: As `whole_file`.
    """
    with whole_file(path) as temporary:
        write(temporary)


def _mode_of(path: Path) -> int:
    """The permissions that the file shall have: those of the one that it replaces, else the usual ones.

    Raises:
        UsageError: What is there is no plain file: a device, a pipe or a link would be replaced by one.
    """
    try:
        found = path.lstat().st_mode
    except FileNotFoundError:
        return 0o666 & ~_umask()
    if not stat.S_ISREG(found):
        kind = "a link" if stat.S_ISLNK(found) else "a folder" if stat.S_ISDIR(found) else "a device or a pipe"
        raise UsageError(f"{path} cannot be written: it is {kind}.", "name a plain file, or - for stdout.")
    return stat.S_IMODE(found)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
