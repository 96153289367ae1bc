"""NumPy's files with objects in them, or with headers that lie."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

from hostile.pickles import a_global
from hostile.registry import MARKER, hostile, written


def _npy(header: str | bytes, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    coded = (header if isinstance(header, bytes) else header.encode("latin1", "replace")) + b"\n"
    size = struct.pack("<H" if version[0] == 1 else "<I", len(coded))
    return b"\x93NUMPY" + version + size + coded + data


def _header(descr: str, shape: str) -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"


def _npz(folder: Path, arrays: Mapping[str, bytes]) -> Path:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in arrays.items():
            archive.writestr(f"{name}.npy", content)
    return written(folder, "dump.npz", stream.getvalue())


def _both(folder: Path, content: bytes) -> Path:
    return _npz(folder, {"hidden": content, "actions": content})


@hostile("batch")
def objects_in_an_npz(folder: Path) -> Path:
    return _both(folder, _npy(_header("'|O'", "(1,)"), a_global(str(folder / MARKER))))


@hostile("checkpoint", "batch")
def objects_in_an_npy(folder: Path) -> Path:
    return written(folder, "dump.npy", _npy(_header("'|O'", "(1,)"), a_global(str(folder / MARKER))))


@hostile("checkpoint")
def objects_in_an_npz_called_weights(folder: Path) -> Path:
    path = objects_in_an_npz(folder)
    return path.rename(folder / "head.pt")


@hostile("batch")
def pickle_called_an_array(folder: Path) -> Path:
    """NumPy reads what does not begin like an array as a pickle, if it is let."""
    return _both(folder, a_global(str(folder / MARKER)))


@hostile("batch")
def object_beside_numbers(folder: Path) -> Path:
    plain = _npy(_header("'<f4'", "(2, 1)"), struct.pack("<2f", 1, 2))
    hostile_one = _npy(_header("'|O'", "(1,)"), a_global(str(folder / MARKER)))
    return _npz(folder, {"hidden": plain, "actions": plain, "note": hostile_one})


@hostile("batch")
def objects_inside_of_a_record(folder: Path) -> Path:
    return _both(folder, _npy(_header("[('a', '<f4'), ('b', '|O')]", "(1,)"), pickle.dumps([1], 2)))


@hostile("batch")
def shape_without_end(folder: Path) -> Path:
    return _both(folder, _npy(_header("'<f4'", "(1099511627776, 1024)")))


@hostile("batch")
def shape_of_gigabytes(folder: Path) -> Path:
    return _both(folder, _npy(_header("'<f4'", "(805306368,)")))


@hostile("batch")
def shape_below_zero(folder: Path) -> Path:
    return _both(folder, _npy(_header("'<f4'", "(-1, 2)")))


@hostile("batch")
def shape_that_overflows(folder: Path) -> Path:
    return _both(folder, _npy(_header("'<f4'", f"({1 << 62}, {1 << 62})")))


@hostile("batch")
def items_of_no_size(folder: Path) -> Path:
    """As many as one likes, out of no bytes."""
    return _both(folder, _npy(_header("'|V0'", f"({1 << 40},)")))


@hostile("batch")
def items_of_gigabytes(folder: Path) -> Path:
    return _both(folder, _npy(_header("'<U805306368'", "(1,)")))


@hostile("batch")
def header_of_deep_brackets(folder: Path) -> Path:
    return _both(folder, _npy("(" * 30_000 + ")" * 30_000))


@hostile("batch")
def header_of_a_huge_number(folder: Path) -> Path:
    return _both(folder, _npy(_header("'<f4'", f"({'9' * 60_000},)")))


@hostile("batch")
def header_that_is_an_expression(folder: Path) -> Path:
    marker = str(folder / MARKER)
    return _both(folder, _npy(f"{{'descr': open({marker!r}, 'w'), 'fortran_order': False, 'shape': (1,)}}"))


@hostile("batch")
def header_longer_than_the_file(folder: Path) -> Path:
    return _both(folder, b"\x93NUMPY\x02\x00" + struct.pack("<I", 0xFFFFFFFF) + b"{")


@hostile("batch")
def header_with_zeros_and_escapes(folder: Path) -> Path:
    return _both(folder, _npy("{'descr': '\0\x1b[31m', 'fortran_order': False, 'shape': (1,)}"))


@hostile("batch")
def version_of_the_future(folder: Path) -> Path:
    return _both(folder, _npy(_header("'<f4'", "(1,)"), b"\0" * 4, b"\x09\x00"))


@hostile("batch")
def text_instead_of_numbers(folder: Path) -> Path:
    return _both(folder, _npy(_header("'<U4'", "(1,)"), "abcd".encode("utf-32-le")))


@hostile("batch")
def dates_instead_of_numbers(folder: Path) -> Path:
    return _both(folder, _npy(_header("'<M8[s]'", "(1,)"), b"\0" * 8))
