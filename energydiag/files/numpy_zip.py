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


def _read(path: Path) -> TensorFile:
    import numpy as np
    import torch

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
