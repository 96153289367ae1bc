"""Whole files of every format, cut at every sixteenth of their length."""

from __future__ import annotations

import io
import json
import tempfile
import warnings
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from hostile.registry import Payload, Use, register, written

PARTS = 16


def _dump() -> dict[str, Any]:
    import torch

    return {"hidden": torch.ones(6, 3, 4), "actions": torch.ones(6, 2, 3), "episode": torch.arange(6)}


def _head() -> dict[str, Any]:
    import torch

    from energydiag.models.cross_attention import CrossAttentionEnergy

    torch.manual_seed(0)
    return dict(CrossAttentionEnergy(4, 3, hidden=8, nhead=2, head="linear").state_dict())


@cache
def whole(kind: str) -> bytes:
    """A whole file of this kind."""
    import numpy
    import safetensors.torch
    import torch

    stream = io.BytesIO()
    if kind == "safetensors":
        return safetensors.torch.save(_head(), {"head": "linear", "nhead": "2"})
    if kind == "npz":
        numpy.savez(stream, **{name: value.numpy() for name, value in _dump().items()})
    elif kind == "compressed-npz":
        numpy.savez_compressed(stream, **{name: value.numpy() for name, value in _dump().items()})
    elif kind == "log":
        return b"step,loss,grad_norm\n" + b"".join(b"%d,%.4f,0.5\n" % (n, 2 / (n + 1)) for n in range(40))
    elif kind == "result":
        return result_text().encode()
    else:
        torch.save(_head(), stream, _use_new_zipfile_serialization=kind == "zip")
    return stream.getvalue()


@cache
def result_text() -> str:
    """A saved diagnosis."""
    from energydiag.results import BatchFacts, CheckpointDiagnosis, CheckpointFacts, Finding, Measurement, Skipped

    return CheckpointDiagnosis(
        verdict="critical",
        checkpoint=CheckpointFacts(path="head.pt", architecture="mine", parameters=12, energy="raw"),
        batch=BatchFacts(path="d", samples=6, samples_used=6, episodes=3, hidden=(6,), actions=(6,)),
        measurements=(Measurement("auroc.swap", 0.5, "1", 6, (0.4, 0.6)),),
        findings=(Finding("ED201", "no-separation", "critical", "s", ("auroc.swap",), "c", ("linear-head",)),),
        skipped=(Skipped("a", "b"),),
        created="2026-01-01T00:00:00+00:00",
        energydiag_version="0",
    ).to_json()


def _cut(folder: Path, kind: str, called: str, part: int) -> Path:
    content = whole(kind)
    return written(folder, called, content[: len(content) * part // PARTS])


KINDS: tuple[tuple[str, str, Use], ...] = (
    ("zip", "head.pt", "checkpoint"),
    ("legacy", "head.pth", "checkpoint"),
    ("safetensors", "head.safetensors", "checkpoint"),
    ("npz", "dump.npz", "batch"),
    ("compressed-npz", "dump.npz", "batch"),
    ("result", "result.json", "report"),
)

for _kind, _called, _use in KINDS:
    for _part in range(PARTS):
        _make = partial(_cut, kind=_kind, called=_called, part=_part)
        register(Payload(f"truncated:{_kind}-{_part}-of-{PARTS}", _make, (_use,)))


# --- checkpoints of several files


def _sharded(folder: Path, change: Callable[[Path], None]) -> Path:
    """A folder as Hugging Face writes it, with one thing changed."""
    from safetensors.torch import save_file

    inside = folder / "model"
    inside.mkdir()
    state = _head()
    names = sorted(state)
    halves = (names[::2], names[1::2])
    index: dict[str, Any] = {"metadata": {"total_size": 1}, "weight_map": {}}
    for number, half in enumerate(halves, 1):
        called = f"model-0000{number}-of-00002.safetensors"
        save_file({name: state[name] for name in half}, inside / called)
        index["weight_map"] |= dict.fromkeys(half, called)
    (inside / "model.safetensors.index.json").write_text(json.dumps(index))
    change(inside)
    return inside


def _cut_index(inside: Path, part: int) -> None:
    path = inside / "model.safetensors.index.json"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * part // PARTS])


def _cut_shard(inside: Path, part: int) -> None:
    path = inside / "model-00002-of-00002.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * part // PARTS])


def _distributed(folder: Path, called: str, part: int) -> Path:
    """A folder of torch.distributed.checkpoint with one file cut."""
    inside = folder / "checkpoint"
    inside.mkdir()
    for name, content in distributed_checkpoint().items():
        end = len(content) * part // PARTS if name.endswith(called) else len(content)
        written(inside, name, content[:end])
    return inside


@cache
def distributed_checkpoint() -> dict[str, bytes]:
    """What torch's own writer writes, by the names of the files."""
    import torch.distributed.checkpoint as distributed

    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is not distributed
        distributed.save(_head(), checkpoint_id=name, no_dist=True)
        return {path.name: path.read_bytes() for path in Path(name).iterdir()}


for _part in range(PARTS):
    for _what, _change in (("index", _cut_index), ("shard", _cut_shard)):
        _make = partial(_sharded, change=partial(_change, part=_part))
        register(Payload(f"truncated:sharded-{_what}-{_part}-of-{PARTS}", _make, ("checkpoint",)))
    for _what, _called in (("metadata", ".metadata"), ("data", ".distcp")):
        _make = partial(_distributed, called=_called, part=_part)
        register(Payload(f"truncated:distributed-{_what}-{_part}-of-{PARTS}", _make, ("checkpoint",)))
