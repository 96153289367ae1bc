"""Folders of ``torch.distributed.checkpoint``: ``.metadata`` and the pieces of tensors in ``*.distcp`` files.

``.metadata`` is a pickle. Torch's own reader unpickles it, which runs whatever a stranger put there; here it is read as
data (`pickle_data`), and every name in it must be in a list of torch's metadata classes. A piece is a ``torch.save`` of
one tensor, read with ``weights_only=True`` when the tensor is asked for. Entries that are no tensors are never read.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from energydiag.errors import UnreadableFile, first_line
from energydiag.files.file_check import damaged
from energydiag.files.names import inside, is_plain, shown
from energydiag.files.pickle_data import Made, Named, Pairs, plain_data
from energydiag.files.plain import plain
from energydiag.files.tensor_file import Reader, Stored, TensorFile
from energydiag.files.torch_storage import is_whole
from energydiag.files.torch_zip import harmless, whole_archive

_META = "torch.distributed.checkpoint.metadata"
_FILES = "torch.distributed.checkpoint.filesystem"
_OLD = "torch.distributed._shard.sharded_tensor.metadata"
_DTYPES = {name: value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
_ALLOWED = frozenset(
    {
        (_META, name)
        for name in ("Metadata", "MetadataIndex", "StorageMeta", "TensorProperties", "TensorStorageMetadata")
    }
    | {(_META, name) for name in ("BytesStorageMetadata", "ChunkStorageMetadata", "_MEM_FORMAT_ENCODING")}
    | {(_FILES, "_StorageInfo"), (_FILES, "_StoragePrefix"), (_OLD, "TensorProperties"), (_OLD, "MEM_FORMAT_ENCODING")}
    | {("torch", "Size"), ("torch.serialization", "_get_layout"), ("collections", "OrderedDict")}
    | {("torch", name) for name in _DTYPES}
    | {(module, f"{kind}Path") for module in ("pathlib", "pathlib._local") for kind in ("Posix", "Windows")}
)
"""What ``.metadata`` may name. Not even these are imported: they tell which record is which."""

_SIZE_LIMIT = 64 << 20
"""Bytes of ``.metadata``, 64 MiB: some hundred thousand pieces."""

_SAVE = (
    "copy the whole folder again, or turn it into one file where it was written: "
    "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE.pt"
)


class _Wrong(Exception):
    """Something in ``.metadata`` that is not as torch writes it."""


@dataclass(frozen=True)
class _Piece:
    """Where a box of a tensor is.

    Attributes:
        offsets: First index in each dimension.
        sizes: Length in each dimension.
        file: In which file.
        start: At which byte.
        length: How many bytes.
    """

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    file: Path
    start: int
    length: int


def _recognises(head: bytes, path: Path) -> bool:
    if head[:1] != b"\x80":
        return False
    with path.open("rb") as stream:
        return _META.encode() in stream.read(4096)


def _read(path: Path) -> TensorFile:
    try:
        if path.stat().st_size > _SIZE_LIMIT:
            raise _Wrong(f"it has {path.stat().st_size >> 20} MiB, at most {_SIZE_LIMIT >> 20} are read")
        content, names = plain_data(path.read_bytes())
        unknown = sorted({(n.module, n.name) for n in names} - _ALLOWED)
        if unknown:
            listed = ", ".join(shown(f"{module}.{name}") for module, name in unknown[:5])
            raise UnreadableFile(
                f"{path} asks for {listed}, which torch does not write into it; it was not run.",
                "do not load this folder with anything else; ask whoever gave it to you.",
            )
        fields = _fields(content, _META, "Metadata")
        pieces = _pieces(fields.get("storage_data"), path.parent)
        tensors = dict(_tensors(fields.get("state_dict_metadata"), pieces))
        nested = _nested(tensors, fields.get("planner_data"))
    except (_Wrong, ValueError, OSError) as error:
        raise UnreadableFile(
            f"{path} is no metadata of a distributed checkpoint: {first_line(error)}.", _SAVE
        ) from error
    files = sorted({piece.file for piece in pieces.values()})
    return TensorFile(path.parent, "torch.distributed.checkpoint", nested, parts=(path, *files))


def _fields(made: Any, module: str, name: str) -> dict[str, Any]:
    """The attributes of a record that must be of this class."""
    if not (isinstance(made, Made) and (made.kind.module, made.kind.name) == (module, name)):
        raise _Wrong(f"a {name} is missing")
    if not isinstance(made.state, Pairs) or not all(isinstance(key, str) for key, _ in made.state):
        raise _Wrong(f"a {name} without its fields")
    return dict(made.state)


def _numbers(value: Any, what: str) -> tuple[int, ...]:
    """A ``torch.Size``."""
    if isinstance(value, Made) and (value.kind.module, value.kind.name) == ("torch", "Size"):
        value = value.arguments[0] if len(value.arguments) == 1 else None
    if not isinstance(value, tuple) or not all(type(n) is int and 0 <= n < 1 << 48 for n in value) or len(value) > 64:
        raise _Wrong(f"{what} that are no sizes")
    return value


def _place_of(name: str, offsets: tuple[int, ...]) -> tuple[str, str]:
    """What a piece is looked up by: text, since tuples of numbers can be made to have the same hash."""
    return name, str(offsets)


def _pieces(stored: Any, folder: Path) -> dict[tuple[str, str], _Piece]:
    """Every piece by its tensor's name and its place in it; the sizes are known to the tensor alone."""
    if not isinstance(stored, Pairs):
        raise _Wrong("it does not say where tensors are")
    found: dict[tuple[str, str], _Piece] = {}
    sizes: dict[str, tuple[Path, int]] = {}
    for index, place in stored:
        of, at = _fields(index, _META, "MetadataIndex"), _fields(place, _FILES, "_StorageInfo")
        name, offset = of.get("fqn"), of.get("offset")
        if not isinstance(name, str):
            raise _Wrong("a piece of a tensor without a name")
        if offset is None:  # not a tensor
            continue
        offsets = _numbers(offset, "offsets")
        file, start, length = at.get("relative_path"), at.get("offset"), at.get("length")
        if not isinstance(file, str) or not is_plain(file):
            raise _Wrong(f"the file of {shown(name)} must be a plain name in the folder, not {shown(file)}")
        if at.get("transform_descriptors"):
            raise _Wrong(f"{shown(name)} is stored {shown(at['transform_descriptors'])}, which is not read")
        if file not in sizes:
            inside(folder / file, _SAVE)
            sizes[file] = (folder / file, (folder / file).stat().st_size)
        path, size = sizes[file]
        if not (type(start) is int and type(length) is int and 0 <= start <= start + length <= size):
            raise _Wrong(f"{shown(name)} lies outside of the {size} bytes of {file}")
        if _place_of(name, offsets) in found:
            raise _Wrong(f"a piece of {shown(name)} stands there twice")
        found[_place_of(name, offsets)] = _Piece(offsets, (), path, start, length)
    if sum(piece.length for piece in found.values()) > sum(size for _, size in sizes.values()):
        raise _Wrong("pieces lie over each other")
    return found


def _tensors(described: Any, pieces: Mapping[tuple[str, str], _Piece]) -> Iterator[tuple[str, Stored]]:
    if not isinstance(described, Pairs):
        raise _Wrong("it lists no tensors")
    seen = set()
    for name, record in described:
        if not isinstance(name, str) or name in seen:
            raise _Wrong(f"{shown(name)} is no name, or stands there twice")
        seen.add(name)
        if isinstance(record, Made) and record.kind.name == "BytesStorageMetadata":
            continue  # a pickled object, which is never read
        fields = _fields(record, _META, "TensorStorageMetadata")
        shape, dtype = _numbers(fields.get("size"), "sizes"), _dtype(fields.get("properties"))
        chunks = fields.get("chunks")
        if type(chunks) is not list:
            raise _Wrong(f"{shown(name)} without a list of pieces")
        own = tuple(
            _placed(name, shape, dtype, _fields(chunk, _META, "ChunkStorageMetadata"), pieces) for chunk in chunks
        )
        if sum(math.prod(piece.sizes) for piece in own) != math.prod(shape):
            raise _Wrong(f"the pieces of {shown(name)} are not as many numbers as {list(shape)}")
        yield name, Stored(shape, dtype, _reading(name, shape, dtype, own))


def _placed(
    name: str,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    chunk: Mapping[str, Any],
    pieces: Mapping[tuple[str, str], _Piece],
) -> _Piece:
    offsets, sizes = _numbers(chunk.get("offsets"), "offsets"), _numbers(chunk.get("sizes"), "sizes")
    fits = len(offsets) == len(sizes) == len(shape) and all(
        o + s <= whole for o, s, whole in zip(offsets, sizes, shape, strict=True)
    )
    piece = pieces.get(_place_of(name, offsets))
    if piece is None or not fits:
        raise _Wrong(f"a piece of {shown(name)} is missing or outside of {list(shape)}")
    if math.prod(sizes) * dtype.itemsize > piece.length:
        raise _Wrong(f"{piece.length} bytes cannot hold a piece {list(sizes)} of {shown(name)}")
    return _Piece(offsets, sizes, piece.file, piece.start, piece.length)


def _dtype(properties: Any) -> torch.dtype:
    """The first of the properties' state; the others say nothing of the values."""
    state = properties.state if isinstance(properties, Made) else None
    first = state[0] if isinstance(state, tuple) and state else None
    if not (isinstance(first, Named) and first.module == "torch" and first.name in _DTYPES):
        raise _Wrong("a tensor without a type")
    return _DTYPES[first.name]


def _nested(tensors: Mapping[str, Stored], paths: Any) -> dict[str, Any]:
    """The tensors in the dicts that they were saved in, where the planner wrote that down; else by their flat names."""
    known = {name: path for name, path in paths if isinstance(name, str)} if isinstance(paths, Pairs) else {}
    whole: dict[str, Any] = {}
    for name, tensor in tensors.items():
        path = known.get(name)
        steps = [str(step) for step in path] if isinstance(path, tuple) and _are_steps(path) else [name]
        *outer, last = steps
        place: Any = whole
        for step in outer:
            place = place.setdefault(step, {})
            if not isinstance(place, dict):
                raise _Wrong(f"{shown(step)} is a tensor and a folder of tensors")
        if last in place:
            raise _Wrong(f"{shown(last)} stands there twice")
        place[last] = tensor
    return whole


def _are_steps(path: tuple[Any, ...]) -> bool:
    return 0 < len(path) <= 32 and all(isinstance(step, str | int) for step in path)


def _reading(name: str, shape: tuple[int, ...], dtype: torch.dtype, pieces: tuple[_Piece, ...]) -> Any:
    def read() -> torch.Tensor:
        if len(pieces) == 1:
            return _load(name, pieces[0], dtype)
        whole = torch.empty(shape, dtype=dtype)
        filled = torch.zeros(shape, dtype=torch.bool)
        for piece in pieces:
            box = tuple(slice(o, o + s) for o, s in zip(piece.offsets, piece.sizes, strict=True))
            whole[box] = _load(name, piece, dtype)
            filled[box] = True
        if not bool(filled.all()):
            raise UnreadableFile(f"The pieces of {shown(name)} lie over each other.", _SAVE)
        return whole

    return read


def _load(name: str, piece: _Piece, dtype: torch.dtype) -> torch.Tensor:
    try:
        with piece.file.open("rb") as stream:
            stream.seek(piece.start)
            content = io.BytesIO(stream.read(piece.length))
        archive = whole_archive(content, piece.file)
        content.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch says of odd files is said by the error
            tensor = plain(torch.load(content, map_location="cpu", weights_only=True))
    except UnreadableFile:
        raise
    except Exception as error:  # a damaged or hostile file can provoke any
        raise UnreadableFile(f"{piece.file} holds no tensor for {shown(name)}: {harmless(error)}.", _SAVE) from error
    if not isinstance(tensor, torch.Tensor):
        raise UnreadableFile(f"{piece.file} holds no tensor for {shown(name)}.", _SAVE)
    fits = tensor.layout == torch.strided and tensor.device.type == "cpu"
    if not fits or tuple(tensor.shape) != piece.sizes or tensor.dtype != dtype:
        raise UnreadableFile(
            f"{piece.file} holds something else for {shown(name)} than a {dtype} {list(piece.sizes)}.", _SAVE
        )
    if not is_whole(tensor, archive.checksums):
        raise damaged(piece.file, f"{shown(name)}")
    return tensor


def _entries(folder: Path) -> list[Path]:
    return [path for path in (folder / ".metadata",) if path.exists()]


READER = Reader("torch.distributed.checkpoint", _recognises, _read, _entries)
