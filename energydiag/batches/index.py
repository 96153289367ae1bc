"""The list of a dump's shards: what ``index.json`` in a folder of shards says, and what it must not say.

    {"format": "energydiag-shards", "version": 1,
     "shards": [{"file": "shard-00000.safetensors", "samples": 1024, "sha256": "…"}]}

The samples stand in the order of the list; ``sha256`` may be missing. Several processes that write into one folder keep
one list each, ``index-00002-of-00008.json``; the dump is all lists together, in the order of the processes.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from energydiag.errors import InvalidBatch, UnreadableFile, first_line
from energydiag.files.names import inside, is_plain, shown

FORMAT = "energydiag-shards"
VERSION = 1
MOST_WRITERS = 99_999
"""What five digits in a name can tell apart."""

_SIZE_LIMIT = 64 << 20
"""Bytes, 64 MiB: the list of half a million shards."""

_INDEX_NAME = re.compile(r"index(?:-([0-9]{5})-of-([0-9]{5}))?\.json")
_FIELDS = {"format", "version", "shards"}
_SHARD_FIELDS = {"file", "samples", "sha256"}
_WRITE_AGAIN = "write the dump again with energydiag.dump.BatchWriter, or mend the list by hand"
COPY_AGAIN = "copy the whole dump again, or " + _WRITE_AGAIN + "."
"""What to do where a file of a dump cannot be read."""


@dataclass(frozen=True)
class Shard:
    """One file of a dump.

    Attributes:
        file: Its name in the dump's folder.
        samples: How many it holds.
        sha256: Hash of its bytes, as hexadecimal text, or None where the list does not tell.
    """

    file: str
    samples: int
    sha256: str | None = None


def index_name(rank: int, world_size: int) -> str:
    """What the list of one of several writers is called."""
    return "index.json" if world_size == 1 else f"index-{rank:05d}-of-{world_size:05d}.json"


def shard_name(rank: int, world_size: int, number: int) -> str:
    """What a shard of one of several writers is called."""
    writer = "" if world_size == 1 else f"-{rank:05d}-of-{world_size:05d}"
    return f"shard{writer}-{number:05d}.safetensors"


def index_files(folder: Path) -> list[Path]:
    """The lists in a folder, in the order of their writers; ``index.json`` comes first.

    Raises:
        UnreadableFile: The folder cannot be listed.
    """
    try:
        found = [(match.groups(""), path) for path in folder.iterdir() if (match := _INDEX_NAME.fullmatch(path.name))]
    except OSError as error:
        raise UnreadableFile(f"{folder} cannot be listed: {error.strerror}.", "check its permissions.") from error
    return [path for (rank, world_size), path in sorted(found, key=lambda one: one[0][::-1])]


def index_text(shards: tuple[Shard, ...]) -> str:
    """What is written into the list."""
    rows = [
        {"file": shard.file, "samples": shard.samples} | ({"sha256": shard.sha256} if shard.sha256 else {})
        for shard in shards
    ]
    return json.dumps({"format": FORMAT, "version": VERSION, "shards": rows}, indent=1) + "\n"


def read_index(path: Path) -> tuple[Shard, ...]:
    """The shards in one list.

    Raises:
        UnreadableFile: It is no JSON, too large, or not a file inside of its folder.
        InvalidBatch: It says something else than the format allows.
    """
    inside(path, COPY_AGAIN)
    try:
        if path.stat().st_size > _SIZE_LIMIT:
            raise ValueError(f"it has {path.stat().st_size >> 20} MiB, at most {_SIZE_LIMIT >> 20} are read")
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise UnreadableFile(
            f"{path} cannot be read as a list of shards: {first_line(error)}.", _WRITE_AGAIN + "."
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InvalidBatch(
            f'{path} is no list of shards: it must be an object with "format": "{FORMAT}".', _WRITE_AGAIN + "."
        )
    version = content.get("version")
    if type(version) is not int or version != VERSION:
        raise InvalidBatch(
            f"{path} has version {shown(version)}; this energydiag reads {VERSION}.", "update energydiag."
        )
    _only(content, _FIELDS, "The top level", path)
    if not isinstance(content.get("shards"), list):
        raise InvalidBatch(
            f"`shards` in {path} must be a list, not {shown(content.get('shards'))}.", _WRITE_AGAIN + "."
        )
    return tuple(_shard(row, number, path) for number, row in enumerate(content["shards"]))


def _shard(row: Any, number: int, path: Path) -> Shard:
    where = f"`shards[{number}]`"
    if not isinstance(row, dict):
        raise InvalidBatch(f"{where} in {path} must be an object, not {shown(row)}.", _WRITE_AGAIN + ".")
    _only(row, _SHARD_FIELDS, where, path)
    file, samples, sha256 = row.get("file"), row.get("samples"), row.get("sha256")
    if not isinstance(file, str) or not is_plain(file):
        raise InvalidBatch(
            f"`file` of {where} in {path} must be the plain name of a file beside it, not {shown(file)}.",
            "put all shards into the dump's folder and name them without a path.",
        )
    if type(samples) is not int or not 0 < samples < 1 << 63:
        raise InvalidBatch(
            f"`samples` of {where} in {path} must be a positive whole number, not {shown(samples)}.",
            _WRITE_AGAIN + ".",
        )
    if sha256 is not None and not (isinstance(sha256, str) and re.fullmatch("[0-9a-f]{64}", sha256)):
        raise InvalidBatch(
            f"`sha256` of {where} in {path} must be 64 hexadecimal digits, not {shown(sha256)}.", "leave it out."
        )
    return Shard(file, samples, sha256)


def _only(row: dict[str, Any], allowed: set[str], where: str, path: Path) -> None:
    other = sorted(set(row) - allowed)
    if other:
        raise InvalidBatch(
            f"{where} in {path} has {shown(other[0])}, which means nothing there.",
            f"keep {', '.join(sorted(allowed))} only.",
        )
