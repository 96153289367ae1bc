"""Archives whose directory is as it should be, before Python's reader makes an object of every entry in it."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import IO, Any

_MOST_ENTRIES = 260_000
"""As many as a file may have tensors, and some beside them."""

_LONGEST_EXTRA = 256
"""Bytes of an entry's extra field; Python takes time that grows with its square. Times and sizes take 40."""

_ENTRY = struct.Struct("<4s24xHHH12x").unpack_from
_ENTRY_SIZE = 46


def opened_zip(archive: Path | IO[bytes]) -> zipfile.ZipFile:
    """An archive to be read.

    Args:
        archive: Its path, or itself.

    Raises:
        zipfile.BadZipFile: It is none, or its directory has more than an archive of tensors needs.
        OSError: It cannot be read.
    """
    if isinstance(archive, Path):
        with archive.open("rb") as stream:
            _check(stream)
    else:
        place = archive.tell()
        _check(archive)
        archive.seek(place)
    return zipfile.ZipFile(archive)


def _check(stream: IO[bytes]) -> None:
    end: Any = zipfile._EndRecData(stream)  # type: ignore[attr-defined]  # the directory that `ZipFile` will read
    if not end:
        return
    size, location, total = end[5], end[9], end[4]
    if total > _MOST_ENTRIES:
        raise zipfile.BadZipFile(f"it says that it has {total} entries, more than {_MOST_ENTRIES}")
    start = location - size - (76 if end[0] == b"PK\6\6" else 0)
    if not 0 <= start <= location:
        return
    stream.seek(start)
    directory = stream.read(size)
    place = count = 0
    while place + _ENTRY_SIZE <= len(directory):
        signature, name, extra, comment = _ENTRY(directory, place)
        if signature != b"PK\1\2":
            return  # damaged: the reader says so
        count += 1
        if count > _MOST_ENTRIES or extra > _LONGEST_EXTRA:
            raise zipfile.BadZipFile(f"its entry {count} is one too many, or has an extra field of {extra} bytes")
        place += _ENTRY_SIZE + name + extra + comment
