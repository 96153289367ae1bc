"""Libraries that look at the current folder while they are loaded are loaded in another one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Another current folder for a block; not for threads that read relative paths meanwhile.

    Args:
        folder: Which.
    """
    try:
        before = os.open(os.curdir, os.O_RDONLY)
    except OSError:  # the current folder was removed, so that nothing lies in it and there is no way back
        yield
        return
    try:
        os.chdir(folder)
        yield
    finally:
        os.fchdir(before)
        os.close(before)
