"""``torch.save``'s zip form, read with ``weights_only=True``: tensors and plain containers, never code."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from energydiag.errors import UnreadableFile, first_line
from energydiag.files.allowed import not_allowed, refused, type_refused
from energydiag.files.file_check import damaged, has_checksums, start_of
from energydiag.files.pickle_scan import MOST_BYTES, Suspicious, scan
from energydiag.files.plain import NotPlain, plain
from energydiag.files.tensor_file import Reader, TensorFile
from energydiag.files.zip_directory import opened_zip

_STORAGE = re.compile(r"[^/]+/data/\d+")
_AGAIN = "copy or save it again; compare its size with the original's."


def _recognises(head: bytes, path: Path) -> bool:
    if not head.startswith(b"PK"):
        return False
    try:
        with opened_zip(path) as archive:
            return any(name.endswith("data.pkl") for name in archive.namelist())
    except Exception:
        return True  # a zip that lost its end: the reader says so


@dataclass(frozen=True)
class Archive:
    """What a torch.save file consists of.

    Attributes:
        entries: By their places in its directory.
        asked: Dotted names that its pickle asks for.
    """

    entries: Sequence[zipfile.ZipInfo]
    asked: Sequence[str]

    @property
    def checksums(self) -> frozenset[tuple[int, int]]:
        """``(bytes, CRC-32)`` of the storages, none where torch was told to write none (`set_crc32_options`)."""
        if not has_checksums(self.entries):
            return frozenset()
        return frozenset((entry.file_size, entry.CRC) for entry in self.entries if _is_storage(entry))


def whole_archive(stream: IO[bytes], path: Path) -> Archive:
    """An archive, once the small entries are what their checksums say, and the pickle among them is harmless.

    Args:
        stream: The archive.
        path: Of the file it is in, for messages.

    Raises:
        UnreadableFile: It is no whole archive, or one that torch.save does not write.
    """
    try:
        with opened_zip(stream) as archive:
            entries = archive.infolist()
        if not all(0 <= entry.header_offset < 1 << 62 for entry in entries):
            raise ValueError("an entry begins outside of the file")
    except Exception as error:  # a damaged or hostile file can provoke any
        raise UnreadableFile(f"{path} is not a whole torch.save file: {first_line(error)}.", _AGAIN) from error
    # torch.save never compresses; what is compressed could unpack to any size
    packed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise UnreadableFile(
            f"{path} holds compressed entries ({packed[0]}), which torch.save does not write; it was not unpacked.",
            "save it again with torch.save(tensors, path).",
        )
    _check_names(entries, path)
    for entry in entries if has_checksums(entries) else []:
        if not _is_storage(entry) and zlib.crc32(_content(stream, entry)) != entry.CRC:
            raise damaged(path, f"its entry {entry.filename}")
    asked: set[str] = set()
    size = stream.seek(0, io.SEEK_END)
    for entry in entries:
        if _is_pickle(entry):
            asked.update(check_pickles(io.BytesIO(_content(stream, entry)), 1, path, size))
    return Archive(entries, sorted(asked))


def _content(stream: IO[bytes], entry: zipfile.ZipInfo) -> bytes:
    stream.seek(start_of(stream, entry))
    return stream.read(entry.file_size)


def _is_storage(entry: zipfile.ZipInfo) -> bool:
    return _STORAGE.fullmatch(entry.orig_filename) is not None


def _is_pickle(entry: zipfile.ZipInfo) -> bool:
    """Torch's reader of archives does not tell capitals from small letters."""
    return entry.orig_filename.lower().endswith("data.pkl")


def _check_names(entries: Sequence[zipfile.ZipInfo], path: Path) -> None:
    """Two readers of an archive must see the same one in it: names as they stand there, not as zipfile shows them."""
    names = [entry.orig_filename.lower() for entry in entries]
    if len(set(names)) < len(names) or len({name.partition("/")[0] for name in names}) > 1:
        raise UnreadableFile(
            f"{path} holds two archives, or two entries of one name, which torch.save does not write; it was not read.",
            "save it again with torch.save(tensors, path).",
        )
    others = sum(entry.file_size for entry in entries if not _is_storage(entry))
    if others > MOST_BYTES:
        raise UnreadableFile(
            f"{path} holds {others >> 20} MiB that are no tensors, at most {MOST_BYTES >> 20} are read.",
            "save tensors only: torch.save(model.state_dict(), path).",
        )


def check_pickles(stream: IO[bytes], pickles: int, path: Path, size: int) -> list[str]:
    """Refuses pickles that would take time or memory without end, and those that cannot be followed.

    Args:
        stream: At the first one.
        pickles: How many there are.
        path: Of the file that they are in, for messages.
        size: Bytes of that file.

    Returns:
        Dotted names that they ask for.

    Raises:
        UnreadableFile: One is such.
    """
    try:
        found = scan(stream, size, pickles)
    except Suspicious as error:
        raise UnreadableFile(
            f"{path} was not read: {error}, which torch.save does not write.",
            "save tensors only: torch.save(model.state_dict(), path); ask whoever gave it to you.",
        ) from error
    if not found.failure:
        return found.dotted()
    wanted = not_allowed(found.dotted())
    if wanted:
        raise refused(path, wanted)
    raise UnreadableFile(f"{path} is not a whole torch.save file: {found.failure}.", _AGAIN)


def harmless(error: Exception) -> str:
    """The error's first line, unless it is torch's advice to load without safety."""
    text = first_line(error)
    # what torch tells besides is advice to load without safety
    return "it holds more than plain tensors" if re.search("weights.only", text, re.IGNORECASE) else text[:300]


def named_contents(contents: Any, path: Path) -> dict[str, Any]:
    """What a file holds by names.

    Raises:
        UnreadableFile: It is something else than a dict.
    """
    if not isinstance(contents, Mapping):
        raise UnreadableFile(
            f"{path} holds a {type(contents).__name__}, but named tensors are expected.",
            "save a dict of tensors: torch.save({'name': tensor}, path).",
        )
    try:
        found: dict[str, Any] = plain(contents)
    except NotPlain as error:
        raise UnreadableFile(
            f"{path} was not read: {error}.", "save a dict of plain tensors by their names."
        ) from error
    return found


def _read(path: Path) -> TensorFile:
    import torch

    with path.open("rb") as stream:
        archive = whole_archive(stream, path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch says of odd files is said by the error
            contents = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a damaged or hostile file can provoke any
        wanted = not_allowed(archive.asked) or type_refused(error)
        if wanted:
            raise refused(path, wanted) from error
        raise UnreadableFile(f"{path} is not a whole torch.save file: {harmless(error)}.", _AGAIN) from error
    named = named_contents(contents, path)
    return TensorFile(path, "torch.save", named, checksums=archive.checksums, mapped=True)


def _entries(folder: Path) -> list[Path]:
    usual = folder / "pytorch_model.bin"
    return [usual] if usual.exists() else []


READER = Reader("torch.save", _recognises, _read, _entries)
