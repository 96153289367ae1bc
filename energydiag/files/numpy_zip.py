"""NumPy's ``.npz``, read with ``allow_pickle=False``; arrays that are not compressed stay in the file until used."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from energydiag.errors import EnergydiagError, UnreadableFile, first_line
from energydiag.files.file_check import start_of
from energydiag.files.names import check_names
from energydiag.files.tensor_file import Reader, TensorFile
from energydiag.files.zip_directory import opened_zip

if TYPE_CHECKING:
    import numpy as np


def _recognises(head: bytes, path: Path) -> bool:
    if not head.startswith(b"PK"):
        return False
    try:
        with opened_zip(path) as archive:
            names = archive.namelist()
    except Exception:  # a zip whose directory is damaged, in one of many ways
        return path.suffix == ".npz"
    return bool(names) and all(name.endswith(".npy") for name in names)


_LARGE = 128 << 20
_DENSE = 10
"""128 MiB out of a tenth of it are no measured data (heuristic): features are halved at best, padding is left out."""


def _refuse_bomb(path: Path) -> None:
    try:
        with opened_zip(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except Exception as error:
        raise _not_whole(path, error) from error
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
            entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.zip.infolist()}
            mapped = all(_is_mapped(entry) for entry in entries.values())
            contents: dict[str, Any] = {}
            check_names(archive.files, path)
            for name in archive.files:
                array = _mapped(path, entries[name]) if mapped else np.asarray(archive[name])
                is_text = array.dtype.kind == "U" and array.shape == ()
                contents[name] = str(array[()]) if is_text else torch.from_numpy(array)
    except EnergydiagError:
        raise
    except Exception as error:  # a damaged or hostile file can provoke any
        raise _not_whole(path, error) from error
    return TensorFile(path, "npz", contents, mapped=mapped)


def _not_whole(path: Path, error: Exception) -> UnreadableFile:
    return UnreadableFile(
        f"{path} is not a whole .npz of plain arrays: {first_line(error)}.",
        "save it again with numpy.savez(path, hidden=…, actions=…), arrays of numbers only.",
    )


def _is_mapped(entry: zipfile.ZipInfo) -> bool:
    return entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1  # 1: encrypted


def _mapped(path: Path, entry: zipfile.ZipInfo) -> np.ndarray[Any, Any]:
    """The array of an entry that is not compressed, in place; writing to it changes the copy in memory alone."""
    import numpy as np

    with path.open("rb") as stream:
        start = start_of(stream, entry)
        stream.seek(start)
        version = np.lib.format.read_magic(stream)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, is_fortran, dtype = read_header[version](stream)
        offset = stream.tell()
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    if not dtype.isnative:
        raise ValueError(f"its numbers are {dtype.str}, not of this machine's byte order")
    size = dtype.itemsize * math.prod(shape)
    if size > start + entry.file_size - offset:
        raise ValueError(f"`{entry.filename}` is shorter than its header says")
    if not size:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "c", offset, shape, "F" if is_fortran else "C")


READER = Reader("npz", _recognises, _read)
