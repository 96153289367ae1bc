"""One writer at a time: a lock on what a process writes into a folder, which ends with the process, however it ends."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from energydiag.errors import UsageError

try:
    import fcntl
except ImportError:  # no such locks on this system
    fcntl = None  # type: ignore[assignment]

_PREFIX = ".lock-"


def is_lock(name: str) -> bool:
    """Whether this is the name of a lock's file."""
    return name.startswith(_PREFIX)


class FolderLock:
    """Held from its making until `release`; a file of its own in the folder, which is gone afterwards.

    Args:
        folder: Which must be there.
        name: Of what is written; writers of other things do not hinder each other.
        what: The same for people.

    Raises:
        UsageError: Another process, or another writer in this one, is at it, or the folder cannot be written to.
    """

    def __init__(self, folder: Path, name: str, what: str) -> None:
        self._path = folder / f"{_PREFIX}{name}"
        self._descriptor: int | None = None
        if fcntl is None:
            return
        while self._descriptor is None:
            try:
                # a link there would have a file made elsewhere
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise UsageError(
                    f"{folder} cannot be locked: {error.strerror}.", "name a folder that can be written."
                ) from error
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(descriptor)
                raise UsageError(
                    f"Another process writes {what} into {folder}.", "wait until it has ended, or name another folder."
                ) from error
            if self._is_there(descriptor):
                self._descriptor = descriptor
            else:  # whoever held it has removed it meanwhile
                os.close(descriptor)

    def _is_there(self, descriptor: int) -> bool:
        with contextlib.suppress(OSError):
            return os.path.samestat(os.fstat(descriptor), self._path.lstat())
        return False

    def release(self) -> None:
        """Lets others write; more than once does no harm."""
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:  # whoever ends by an error before its block begins
        self.release()

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *_error: object) -> None:
        self.release()
