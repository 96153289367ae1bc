"""``torch.save``'s zip form, read with ``weights_only=True``: tensors and plain containers, never code."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

from energydiag.errors import UnreadableFile, first_line
from energydiag.files.tensor_file import Reader, TensorFile

_SHOWN_GLOBALS = 5


def _recognises(head: bytes, path: Path) -> bool:
    if not head.startswith(b"PK"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("data.pkl") for name in archive.namelist())
    except Exception:
        return True  # a zip that lost its end: the reader says so


def _wanted_globals(path: Path) -> str:
    """What a refused file asked to import, found by reading its opcodes without running them; empty if nothing."""
    from torch.serialization import get_unsafe_globals_in_checkpoint

    try:
        names = sorted(get_unsafe_globals_in_checkpoint(path))
    except Exception:  # whatever a hostile file provokes here, it stays refused
        return ""
    shown = ", ".join(repr(name) for name in names[:_SHOWN_GLOBALS])
    return shown + (f" and {len(names) - _SHOWN_GLOBALS} more" if len(names) > _SHOWN_GLOBALS else "")


def _refuse_bomb(path: Path) -> None:
    """torch.save never compresses; what is compressed here could unpack to any size."""
    try:
        with zipfile.ZipFile(path) as archive:
            packed = [entry.filename for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED]
    except Exception:  # the reader says what is wrong with it
        return
    if packed:
        raise UnreadableFile(
            f"{path} holds compressed entries ({packed[0]}), which torch.save does not write; it was not unpacked.",
            "save it again with torch.save(tensors, path).",
        )


def _harmless(error: Exception) -> str:
    """The error's first line, unless it is torch's advice to load without safety."""
    text = first_line(error)
    return "it holds more than plain tensors" if "weights_only" in text else text


def _read(path: Path) -> TensorFile:
    import torch

    _refuse_bomb(path)
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a damaged or hostile file can provoke any
        wanted = _wanted_globals(path)
        if wanted:
            raise UnreadableFile(
                f"{path} is a pickle that asks for {wanted}; it was not run.",
                "save tensors only: torch.save(model.state_dict(), path), not torch.save(model, path).",
            ) from error
        raise UnreadableFile(
            f"{path} is not a whole torch.save file: {_harmless(error)}.",
            "copy or save it again; compare its size with the original's.",
        ) from error
    if not isinstance(contents, Mapping):
        raise UnreadableFile(
            f"{path} holds a {type(contents).__name__}, but named tensors are expected.",
            "save a dict of tensors: torch.save({'name': tensor}, path).",
        )
    return TensorFile(path, "torch.save", {str(key): value for key, value in contents.items()})


READER = Reader("torch.save", _recognises, _read)
