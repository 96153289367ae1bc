"""A dump is diagnosed without any model, and too few episodes give no answer rather than a guess."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from parts import make_batch, make_head
from safetensors.torch import save_file

from energydiag.cli import main
from energydiag.models.energy_function import EnergyFunction
from energydiag.pipeline import inspect, inspect_batch
from energydiag.probes import measure_data

SAMPLE = Path(__file__).resolve().parent.parent / "sample_checkpoints" / "heldout-batch.safetensors"
FIELDS = ("hidden", "actions", "pad_mask", "layer_actions", "episode")


def dump(path: Path, samples: int = 24, **changed: torch.Tensor) -> Path:
    batch = make_batch(samples)
    torch.save({name: getattr(batch, name) for name in FIELDS} | changed, path)
    return path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> object:
    monkeypatch.setattr(sys, "argv", ["energydiag", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


def test_the_sample_dump_is_fine() -> None:
    found = inspect_batch(SAMPLE)
    assert found.verdict == "healthy"
    assert not found.open
    assert found.batch.episodes == 72
    assert all(m.name.startswith("data.") and m.source == "data" for m in found.measurements)
    assert all(s.name.startswith(("ED6", "data.")) for s in found.skipped)


@pytest.mark.parametrize(
    ("code", "spoiled"),
    [
        ("ED601", {"hidden": torch.full((24, 5, 12), torch.nan)}),
        ("ED602", {"pad_mask": torch.ones(24, 5, dtype=torch.bool)}),
        ("ED605", {"actions": torch.randn(24, 4, 3) * torch.tensor([1.0, 0, 1])}),
        ("ED606", {"actions": torch.randn(24, 4, 3) * torch.tensor([1.0, 90, 1])}),
        ("ED607", {"hidden": torch.randn(24, 5, 12) * 1e4}),
    ],
)
def test_a_spoiled_dump_is_named_on_the_command_line(
    code: str, spoiled: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, saved = dump(tmp_path / "dump.pt", **spoiled), tmp_path / "result.json"
    text, page = tmp_path / "result.txt", tmp_path / "result.md"
    formats = [f"--format={name}={file}" for name, file in {"json": saved, "text": text, "md": page}.items()]
    assert run(monkeypatch, "inspect", "batch", path, "--fail-on", "warning", *formats) == 1
    assert code in [finding["code"] for finding in json.loads(saved.read_text())["findings"]]
    assert all(code in file.read_text() and "energy head" not in file.read_text() for file in (text, page))


def test_a_limit_takes_so_many_samples(tmp_path: Path) -> None:
    found = inspect_batch(dump(tmp_path / "dump.pt"), limit=10)
    assert found.batch.samples_used == 10
    assert found.batch.samples == 24


def test_measuring_alone_and_beside_a_model_give_the_same() -> None:
    batch = make_batch(24)
    beside = inspect(EnergyFunction(make_head("linear"), "test"), batch)
    alone = measure_data(batch, 0).measurements
    assert len(alone) > 10
    assert all(beside.measurement(m.name) == m for m in alone)


def test_one_episode_is_too_little_to_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = dump(tmp_path / "dump.pt", episode=torch.zeros(24, dtype=torch.long))
    head = tmp_path / "head.safetensors"
    save_file(make_head("original").state_dict(), head, {"head": "original", "nhead": "2", "tau": "0.5"})
    saved = tmp_path / "result.json"
    arguments = ["inspect", "checkpoint", head, "--batch", path, "--fail-on", "never", "--format", f"json={saved}"]
    assert run(monkeypatch, *arguments) == 0
    assert run(monkeypatch, *arguments, "--inconclusive-fails") == 3
    result = json.loads(saved.read_text())
    assert {finding["code"] for finding in result["findings"]} <= {"ED309", "ED503"}  # what weights alone tell
    assert any("too few episodes" in question["missing"] for question in result["open"])
    unsure = {m["name"] for m in result["measurements"] if m["unsure"]}
    assert "auroc.swap" in unsure
