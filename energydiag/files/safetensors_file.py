"""safetensors: a JSON header and raw bytes, which stay in the file until they are used; nothing in it can run."""

from __future__ import annotations

from pathlib import Path

from energydiag.errors import EnergydiagError, UnreadableFile, first_line
from energydiag.files.names import check_names
from energydiag.files.tensor_file import Reader, TensorFile

_HEADER_LIMIT = 100 << 20
"""Largest header that the safetensors library itself accepts, 100 MiB."""


def _recognises(head: bytes, path: Path) -> bool:
    if len(head) < 9 or head[8:9] != b"{":
        return path.suffix == ".safetensors"
    return int.from_bytes(head[:8], "little") <= _HEADER_LIMIT


def _read(path: Path) -> TensorFile:
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as stream:
            names = stream.keys()
            check_names(names, path)
            # views of the memory-mapped file: no byte is read here
            contents = {key: stream.get_tensor(key) for key in names}
            metadata = dict(stream.metadata() or {})
    except EnergydiagError:
        raise
    except Exception as error:  # a damaged or hostile file can provoke any
        raise UnreadableFile(
            f"{path} is not a whole safetensors file: {first_line(error)}.",
            "copy or save it again; compare its size with the original's.",
        ) from error
    return TensorFile(path, "safetensors", contents, metadata, mapped=True)


def _entries(folder: Path) -> list[Path]:
    usual = folder / "model.safetensors"
    return [usual] if usual.exists() else []


READER = Reader("safetensors", _recognises, _read, _entries)
