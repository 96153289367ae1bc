"""Folders whose lists name files elsewhere, links that lead out or in circles, and things that are no files."""

from __future__ import annotations

import json
import os
import socket
from functools import partial
from pathlib import Path
from typing import Any

from hostile.pickles import a_global
from hostile.registry import MARKER, Payload, hostile, register, written
from hostile.truncated import distributed_checkpoint, whole

INDEXES = {"safetensors": "model.safetensors.index.json", "bin": "pytorch_model.bin.index.json"}

ESCAPES = {
    "parent": "../outside.safetensors",
    "far_parent": "a/../../outside.safetensors",
    "absolute": "/etc/passwd",
    "drive": "C:\\outside.safetensors",
    "backslashes": "..\\outside.safetensors",
    "network": "\\\\host\\share\\outside.safetensors",
    "address": "https://example.com/outside.safetensors",
    "itself": "model.safetensors.index.json",
    "folder": ".",
    "nothing": "",
    "zero": "a\0b",
    "escape_sequence": "\x1b[2J\x1b]0;evil\x07.safetensors",
    "surrogate": "\ud800.safetensors",
    "long": "a" * 100_000,
    "missing": "model-00009-of-00009.safetensors",
    "device": "/dev/zero",
    "home": "~/outside.safetensors",
}


def _model(folder: Path, called: str, content: Any) -> Path:
    inside = folder / "model"
    inside.mkdir()
    written(folder, "outside.safetensors", whole("safetensors"))
    text = content if isinstance(content, str) else json.dumps(content)
    written(inside, called, text.encode("utf-8", "surrogatepass"))
    return inside


def _map(shards: Any) -> dict[str, Any]:
    return {"metadata": {"total_size": 8}, "weight_map": shards}


def _escape(folder: Path, kind: str, name: str) -> Path:
    return _model(folder, INDEXES[kind], _map({"state_linear.fc1.weight": name}))


def _dump_escape(folder: Path, name: str) -> Path:
    content = {"format": "energydiag-shards", "version": 1, "shards": [{"file": name, "samples": 3}]}
    return _model(folder, "index.json", content)


for _name, _file in ESCAPES.items():
    _told = "" if _name in ("itself", "missing") else "must be the plain name"
    for _kind in INDEXES:
        _make = partial(_escape, kind=_kind, name=_file)
        register(Payload(f"folders:{_kind}_shard_{_name}", _make, ("checkpoint",), _told))
    register(Payload(f"folders:dump_shard_{_name}", partial(_dump_escape, name=_file), ("batch",)))

INDEX_TEXTS: dict[str, Any] = {
    "deep_objects": '{"weight_map":' * 300_000,
    "deep_lists": "[" * 300_000,
    "number_of_digits": '{"weight_map": ' + "9" * 1_000_000 + "}",
    "a_list": [],
    "map_is_a_list": _map([]),
    "map_is_text": _map("x"),
    "map_is_empty": _map({}),
    "shard_is_a_number": _map({"a": 3}),
    "shard_is_a_list": _map({"a": ["b"]}),
    "shard_is_none": _map({"a": None}),
    "no_map": {"metadata": {}},
    "hundred_thousand_keys": '{"weight_map": {' + ",".join(f'"{n}":"x"' for n in range(100_000)) + "}}",
    "thirty_thousand_shards": '{"weight_map": {' + ",".join(f'"{n}":"{n}.safetensors"' for n in range(30_000)) + "}}",
    "total_size_is_nan": '{"metadata": {"total_size": NaN}, "weight_map": {"a": "b.safetensors"}}',
    "not_utf8": '{"weight_map": {"\udcff": "b"}}',
}

for _name, _content in INDEX_TEXTS.items():
    for _kind, _called in INDEXES.items():
        _make = partial(_model, called=_called, content=_content)
        register(Payload(f"folders:{_kind}_index_{_name}", _make, ("checkpoint",)))
    register(Payload(f"folders:dump_index_{_name}", partial(_model, called="index.json", content=_content), ("batch",)))


@hostile("checkpoint")
def pickled_shard(folder: Path) -> Path:
    """A harmless list, and a shard that is none."""
    inside = _model(folder, INDEXES["bin"], _map({"a": "pytorch_model-00001-of-00001.bin"}))
    written(inside, "pytorch_model-00001-of-00001.bin", a_global(str(folder / MARKER)))
    return inside


@hostile("checkpoint")
def shard_of_other_keys(folder: Path) -> Path:
    inside = _model(folder, INDEXES["safetensors"], _map({"nowhere": "a.safetensors"}))
    written(inside, "a.safetensors", whole("safetensors"))
    return inside


def _link(folder: Path, target: str | Path, called: str, index: str = INDEXES["safetensors"]) -> Path:
    """A list that names a link."""
    inside = _model(folder, index, _map({"state_linear.fc1.weight": called}))
    (inside / called).symlink_to(target)
    return inside


@hostile("checkpoint", told="link that leads out")
def link_out_of_the_folder(folder: Path) -> Path:
    return _link(folder, "../outside.safetensors", "a.safetensors")


@hostile("checkpoint")
def link_to_a_secret(folder: Path) -> Path:
    return _link(folder, "/etc/passwd", "a.safetensors")


@hostile("checkpoint")
def link_to_a_device(folder: Path) -> Path:
    return _link(folder, "/dev/zero", "a.safetensors")


@hostile("checkpoint")
def link_in_a_circle(folder: Path) -> Path:
    return _link(folder, "a.safetensors", "a.safetensors")


@hostile("checkpoint")
def link_over_two_links_out(folder: Path) -> Path:
    inside = _link(folder, "b.safetensors", "a.safetensors")
    (inside / "b.safetensors").symlink_to("../outside.safetensors")
    return inside


@hostile("checkpoint")
def index_that_is_a_link_out(folder: Path) -> Path:
    inside = folder / "model"
    inside.mkdir()
    written(folder, "list.json", json.dumps(_map({"a": "a.safetensors"})).encode())
    (inside / INDEXES["safetensors"]).symlink_to("../list.json")
    return inside


@hostile("batch")
def dump_link_out(folder: Path) -> Path:
    inside = _dump_escape(folder, "a.safetensors")
    (inside / "a.safetensors").symlink_to("../outside.safetensors")
    return inside


@hostile("checkpoint", told="link that leads out")
def distributed_piece_that_is_a_link_out(folder: Path) -> Path:
    inside = folder / "checkpoint"
    inside.mkdir()
    for name, content in distributed_checkpoint().items():
        written(folder if name.endswith(".distcp") else inside, name, content)
        if name.endswith(".distcp"):
            (inside / name).symlink_to(f"../{name}")
    return inside


@hostile("checkpoint")
def distributed_metadata_that_is_a_link_out(folder: Path) -> Path:
    inside = folder / "checkpoint"
    inside.mkdir()
    written(folder, "metadata", a_global(str(folder / MARKER)))
    (inside / ".metadata").symlink_to("../metadata")
    return inside


@hostile("checkpoint", "batch")
def shard_that_is_a_pipe(folder: Path) -> Path:
    content = {"format": "energydiag-shards", "version": 1, "shards": [{"file": "a.safetensors", "samples": 3}]}
    inside = _model(folder, "index.json", content)
    written(inside, INDEXES["safetensors"], json.dumps(_map({"a": "a.safetensors"})).encode())
    os.mkfifo(inside / "a.safetensors")
    return inside


@hostile("checkpoint")
def distributed_metadata_that_is_a_pipe(folder: Path) -> Path:
    inside = folder / "checkpoint"
    inside.mkdir()
    os.mkfifo(inside / ".metadata")
    return inside


@hostile("checkpoint", "batch", "run", "report")
def pipe(folder: Path) -> Path:
    """Whoever opens it waits for ever."""
    path = folder / "file.safetensors"
    os.mkfifo(path)
    return path


@hostile("checkpoint", "batch", "run", "report")
def link_to_a_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    path = folder / "file.pt"
    path.symlink_to("pipe")
    return path


@hostile("checkpoint", "batch", "run", "report")
def socket_in_the_folder(folder: Path) -> Path:
    path = folder / "s"
    there = Path.cwd()
    os.chdir(folder)  # the address of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("s")
    finally:
        os.chdir(there)
    return path


@hostile("checkpoint", "batch", "run", "report")
def endless_device(folder: Path) -> Path:
    return Path("/dev/zero")


@hostile("checkpoint", "batch", "run", "report")
def empty_device(folder: Path) -> Path:
    return Path("/dev/null")


@hostile("checkpoint", "batch", "run", "report")
def link_to_the_endless_device(folder: Path) -> Path:
    path = folder / "file.npz"
    path.symlink_to("/dev/zero")
    return path


@hostile("checkpoint", "batch", "run", "report")
def link_to_itself(folder: Path) -> Path:
    path = folder / "file.pt"
    path.symlink_to("file.pt")
    return path


@hostile("checkpoint", "batch", "run", "report")
def links_in_a_circle(folder: Path) -> Path:
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")
    return folder / "a"


@hostile("checkpoint", "batch", "run", "report")
def link_to_nothing(folder: Path) -> Path:
    path = folder / "file.pt"
    path.symlink_to("nowhere")
    return path


@hostile("checkpoint", "batch", "run", "report")
def empty_folder(folder: Path) -> Path:
    path = folder / "file.pt"
    path.mkdir()
    return path


@hostile("checkpoint", "batch", "run", "report")
def path_longer_than_any(folder: Path) -> Path:
    return folder / ("a" * 5000)


@hostile("checkpoint", "batch", "run", "report")
def path_through_a_file(folder: Path) -> Path:
    return written(folder, "file", b"text") / "below"


@hostile("checkpoint", "batch", "run", "report")
def terabyte_of_nothing(folder: Path) -> Path:
    """A hole."""
    path = folder / "file.safetensors"
    with path.open("wb") as stream:
        stream.truncate(1 << 40)
    return path
