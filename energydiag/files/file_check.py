"""Whether a file's bytes are whole, and their SHA-256: one pass over them, in a thread of its own."""

from __future__ import annotations

import hashlib
import threading
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from energydiag.errors import EnergydiagError, UnreadableFile
from energydiag.files.zip_directory import opened_zip

_BLOCK = 1 << 20


class FileCheck:
    """The check of one or several files, under way since it was made.

    Args:
        files: In the order that their hash is taken in.
        expected: What the hash of each must be, where that is known.
    """

    def __init__(self, files: Sequence[Path], expected: Sequence[str | None] = ()) -> None:
        self._files = tuple(files)
        self._expected = tuple(expected) or (None,) * len(self._files)
        self._digest = ""
        self._failure: Exception | None = None
        # a daemon: an error elsewhere ends the program without waiting for a hash that nobody asks for
        self._thread = threading.Thread(target=self._run, name="energydiag-file-check", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._digest = sha256_of_all(self._files, self._expected)
        except Exception as error:  # told to who asks for the result
            self._failure = error

    def sha256(self) -> str:
        """Waits for the hash, as `sha256_of_all` gives it.

        Raises:
            UnreadableFile: A file is damaged, or could not be read to its end.
        """
        self._thread.join()
        if isinstance(self._failure, EnergydiagError):
            raise self._failure
        if self._failure is not None:
            raise UnreadableFile(
                f"{self._files[0]} cannot be read to its end: {self._failure}.", "copy it again."
            ) from self._failure
        return self._digest


def sha256_of_all(files: Sequence[Path], expected: Sequence[str | None] = ()) -> str:
    """Hash of a file's bytes as hexadecimal text; of several files, the hash over their hashes in order.

    Args:
        files: In order.
        expected: What the hash of each must be, None where that is not known; empty: of none.

    Raises:
        UnreadableFile: An entry of a zip archive is not what its checksum says, or a hash is not the expected one.
        OSError: A file cannot be read.
    """
    hashes = []
    for path, known in zip(files, expected or [None] * len(files), strict=True):
        hashes.append(_checked_hash(path))
        if known not in (None, hashes[-1]):
            raise UnreadableFile(
                f"{path} was changed or damaged: its SHA-256 is not the one in the index.",
                "copy or write it again.",
            )
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def damaged(path: Path, what: str) -> UnreadableFile:
    """The error for bytes that are not what their checksum says."""
    return UnreadableFile(
        f"{path} is damaged: {what} is not what its checksum says.",
        "copy it again from where it was written, and compare sizes and hashes.",
    )


def has_checksums(entries: Sequence[zipfile.ZipInfo]) -> bool:
    """Whether the checksums of an archive mean anything; without them torch writes 0 everywhere."""
    return any(entry.CRC for entry in entries)


def _checked_hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        entries = _entries(stream)
        stream.seek(0)
        position, wrong = 0, ""
        for start, entry in entries:
            if start < position:
                wrong = wrong or entry.filename
                continue
            try:
                _pass(stream, start - position, digest)
                crc = _pass(stream, entry.file_size, digest)
            except EOFError:
                raise damaged(path, f"its entry {entry.filename}") from None
            position = start + entry.file_size
            wrong = wrong or (entry.filename if crc != entry.CRC else "")
        while block := stream.read(_BLOCK):
            digest.update(block)
    if wrong:
        raise damaged(path, f"its entry {wrong}")
    return digest.hexdigest()


def _entries(stream: IO[bytes]) -> list[tuple[int, zipfile.ZipInfo]]:
    """Where the uncompressed entries of a zip archive start, in order; none where it is no such archive."""
    if stream.read(2) != b"PK":
        return []
    try:
        with opened_zip(stream) as archive:
            listed = archive.infolist()
        if not has_checksums(listed):
            return []
        plain = [entry for entry in listed if entry.compress_type == zipfile.ZIP_STORED]
        return sorted(((start_of(stream, entry), entry) for entry in plain), key=lambda pair: pair[0])
    except Exception:  # who read it has said what is wrong with it; here its bytes are hashed
        return []


def start_of(stream: IO[bytes], entry: zipfile.ZipInfo) -> int:
    """Where the bytes of an entry start: behind its own header, which is of another length than the directory's."""
    stream.seek(entry.header_offset)
    header = stream.read(30)
    return entry.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")


def _pass(stream: IO[bytes], size: int, digest: hashlib._Hash) -> int:
    crc = 0
    while size > 0:
        block = stream.read(min(size, _BLOCK))
        if not block:
            raise EOFError("it became shorter")
        digest.update(block)
        crc = zlib.crc32(block, crc)
        size -= len(block)
    return crc
