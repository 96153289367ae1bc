"""``torch.save``'s form before 1.6 (and ``_use_new_zipfile_serialization=False``): pickles, then raw storages.

It has no checksums and cannot be memory-mapped: a flipped byte of a weight is not noticed, and the file is read whole.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from energydiag.errors import UnreadableFile
from energydiag.files.allowed import not_allowed, refused, type_refused
from energydiag.files.names import shown
from energydiag.files.pickle_data import walk
from energydiag.files.tensor_file import Reader, TensorFile
from energydiag.files.torch_zip import check_pickles, harmless, named_contents

_MAGIC = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
"""The number that torch writes first."""

_PICKLES = 5
"""Magic number, version, system, contents, keys of the storages."""

_SAVE = "save it again with torch.save(tensors, path), or with safetensors.torch.save_file(tensors, path)."


def _recognises(head: bytes, path: Path) -> bool:
    return _is_pickle(head) or (not head.startswith(b"PK") and _is_tar(path))


def _is_pickle(head: bytes) -> bool:
    return head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")


def _is_tar(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(262)[257:] == b"ustar"


def _read(path: Path) -> TensorFile:
    import torch

    if _is_tar(path):
        raise UnreadableFile(
            f"{path} is a .tar archive, as torch.save wrote before 2017; it cannot be read without running it.",
            "load it where it was written and " + _SAVE,
        )
    with path.open("rb") as stream:
        is_torch = _MAGIC in stream.read(64)
        stream.seek(0)
        if not is_torch:
            asked = walk(stream).dotted()
            asks = f" that asks for {', '.join(map(shown, asked[:5]))}" if asked else ""
            raise UnreadableFile(f"{path} is a plain pickle{asks}, not of torch.save; it was not run.", _SAVE)
        asked = check_pickles(stream, _PICKLES, path, path.stat().st_size)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch says of odd files is said by the error
            contents = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile file can provoke any
        wanted = not_allowed(asked) or type_refused(error)
        if wanted:
            raise refused(path, wanted) from error
        raise UnreadableFile(
            f"{path} is not a whole torch.save file of the old form: {harmless(error)}.",
            "copy it again and compare its size with the original's; or " + _SAVE,
        ) from error
    return TensorFile(path, "torch.save (old form)", named_contents(contents, path))


READER = Reader("torch.save (old form)", _recognises, _read)
