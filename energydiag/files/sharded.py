"""Weights in several files with an index beside them, as Hugging Face libraries write them.

    model.safetensors.index.json or pytorch_model.bin.index.json:
    {"metadata": {"total_size": 512}, "weight_map": {"layer.weight": "model-00001-of-00002.safetensors"}}

The index decides which files there are and nothing else: each is read as what its bytes are, must lie beside the index,
and must hold exactly the tensors that the index says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from energydiag.errors import UnreadableFile, first_line
from energydiag.files import safetensors_file, torch_legacy, torch_zip
from energydiag.files.names import check_names, inside, is_plain, shown
from energydiag.files.pickle_scan import read_together
from energydiag.files.tensor_file import Reader, TensorFile

_SHARD_READERS = (safetensors_file.READER, torch_zip.READER, torch_legacy.READER)
_SIZE_LIMIT = 64 << 20
"""Bytes, 64 MiB: the index of half a million tensors."""

_AGAIN = "copy the whole folder again, or save the model again with save_pretrained(folder)."


def _recognises(head: bytes, path: Path) -> bool:
    if not head.lstrip().startswith(b"{"):
        return False
    try:
        return path.stat().st_size <= _SIZE_LIMIT and b'"weight_map"' in path.read_bytes()
    except OSError:
        return False


def _read(path: Path) -> TensorFile:
    weight_map = _weight_map(path)
    keys_of: dict[str, set[str]] = {}
    for key, name in weight_map.items():
        keys_of.setdefault(name, set()).add(key)
    with read_together():
        shards = [_shard(path, name, keys) for name, keys in sorted(keys_of.items())]
    formats = {shard.format for shard in shards}
    if len(formats) > 1:
        raise UnreadableFile(f"{path} names shards of several formats: {', '.join(sorted(formats))}.", _AGAIN)
    contents = {key: value for shard in shards for key, value in shard.contents.items()}
    said = [set(shard.metadata.items()) for shard in shards]
    return TensorFile(
        path,
        f"sharded {formats.pop()}",
        {key: contents[key] for key in weight_map},
        dict(sorted(set.intersection(*said))),
        parts=(path, *(shard.path for shard in shards)),
        checksums=frozenset().union(*(shard.checksums for shard in shards)),
    )


def _weight_map(path: Path) -> dict[str, str]:
    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=_without_doubles)
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise UnreadableFile(f"{path} cannot be read as an index of shards: {first_line(error)}.", _AGAIN) from error
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise UnreadableFile(
            f"`weight_map` in {path} must be an object of tensor names and files, not {shown(weight_map)}.", _AGAIN
        )
    check_names(weight_map.keys(), path)
    for key, name in weight_map.items():
        if not isinstance(name, str) or not is_plain(name):
            raise UnreadableFile(
                f"The file of {shown(key)} in {path} must be the plain name of a file beside it, not {shown(name)}.",
                "put all shards beside the index and name them without a path.",
            )
    return weight_map


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"it says {shown(key)} twice")
        found[key] = value
    return found


def _shard(index: Path, name: str, keys: set[str]) -> TensorFile:
    path = index.parent / name
    inside(path, _AGAIN)
    with path.open("rb") as stream:
        head = stream.read(16)
    reader = next((reader for reader in _SHARD_READERS if reader.recognises(head, path)), None)
    if reader is None:
        raise UnreadableFile(f"{path} is neither safetensors nor of torch.save, as a shard must be.", _AGAIN)
    shard = reader.read(path)
    _must_hold(shard.contents, keys, path, index)
    return shard


def _must_hold(contents: Mapping[str, Any], keys: set[str], path: Path, index: Path) -> None:
    missing, more = sorted(keys - set(contents)), sorted(set(contents) - keys)
    if missing or more:
        told = f"has no {shown(missing[0])}, although" if missing else f"has {shown(more[0])} too, but"
        says = "names it as its file" if missing else "does not name it as its file"
        raise UnreadableFile(f"{path} {told} {index.name} {says}.", _AGAIN)
    odd = next((key for key in sorted(keys) if not isinstance(contents[key], torch.Tensor)), None)
    if odd is not None:
        raise UnreadableFile(f"{shown(odd)} in {path} is a {type(contents[odd]).__name__}, not a tensor.", _AGAIN)


def _entries(folder: Path) -> list[Path]:
    return [path for pattern in ("*.safetensors.index.json", "*.bin.index.json") for path in folder.glob(pattern)]


READER = Reader("sharded", _recognises, _read, _entries)
