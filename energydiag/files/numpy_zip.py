"""NumPy's ``.npz``, read with ``allow_pickle=False``."""

from __future__ import annotations

import zipfile
from pathlib import Path

from energydiag.errors import UnreadableFile, first_line
from energydiag.files.tensor_file import Reader, TensorFile


def _recognises(head: bytes, path: Path) -> bool:
    if not head.startswith(b"PK"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # a zip whose directory is damaged, in one of many ways
        return path.suffix == ".npz"
    return bool(names) and all(name.endswith(".npy") for name in names)


_LARGE = 1 << 30
_DENSE = 100
"""A gigabyte out of a hundredth of it is no measured data (guesses)."""


def _refuse_bomb(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except Exception:  # the reader says what is wrong with it
        return
    if size > _LARGE and size > _DENSE * path.stat().st_size:
        raise UnreadableFile(
            f"{path} would unpack to {size >> 20} MiB from {path.stat().st_size >> 20} MiB; it was not unpacked.",
            "save it with numpy.savez, without compression.",
        )


def _read(path: Path) -> TensorFile:
    import numpy as np
    import torch

    _refuse_bomb(path)
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            contents = {name: torch.from_numpy(np.asarray(archive[name])) for name in archive.files}
    except Exception as error:  # a damaged or hostile file can provoke any
        raise UnreadableFile(
            f"{path} is not a whole .npz of plain arrays: {first_line(error)}.",
            "save it again with numpy.savez(path, hidden=…, actions=…), arrays of numbers only.",
        ) from error
    return TensorFile(path, "npz", contents)


READER = Reader("npz", _recognises, _read)
