"""Files of `torch.save`, with a full disk told as what it is."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import torch

from energydiag.atomic import write_with
from energydiag.errors import first_line


def write_torch(path: Path, content: Any) -> None:
    """Saves tensors and plain values, whole or not at all.

    Raises:
        UsageError: The file cannot be written.
    """

    def save(temporary: Path) -> None:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:
            # torch's zip writer has no other word for bytes that did not get through
            raise OSError(errno.EIO, f"writing stopped half way, as on a full disk ({first_line(error)})") from error

    write_with(path, save)
