"""Small files that take hours or gigabytes in Python's own libraries, and words that are longer than anybody's."""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parts import make_batch, make_head
from typer.testing import CliRunner

from energydiag.batches import load_batch
from energydiag.checkpoints import read_weights
from energydiag.cli.app import app
from energydiag.cli.config import read_defaults
from energydiag.errors import EnergydiagError, UnreadableFile, UsageError
from energydiag.files import pickle_scan, zip_directory
from energydiag.heads import head_form
from energydiag.monitor.log_folder import LogFolder
from energydiag.runs import Told, limits_of, read_run
from energydiag.runs.event_records import _WIDEST, crc32c

ROOT = Path(__file__).resolve().parent.parent


# --- heads, settings


@pytest.mark.parametrize("head", ["1" * 100_000, "1*sigmoid(1" + "1" * 50_000, "sigmoid(" * 20_000])
def test_a_head_of_very_many_characters(head: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at most 200 characters"):
        head_form(head)
    (tmp_path / "metrics.csv").write_text("step,loss\n" + "".join(f"{step},1\n" for step in range(60)))
    (tmp_path / "config.json").write_text(json.dumps({"head": head}))
    assert limits_of(read_run(tmp_path), Told()).floor is None


@pytest.mark.parametrize(
    "content", ["x" + ".a" * 30_000 + " = 1", "[" + "a." * 30_000 + "a]", "x = {a" + ".a" * 9000 + "=1}"]
)
def test_settings_with_keys_of_very_many_parts(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text(content + "\n")
    monkeypatch.chdir(tmp_path)
    tracemalloc.start()
    assert read_defaults(None) == {}
    with pytest.raises(UsageError, match="dots"):
        read_defaults(tmp_path / "pyproject.toml")
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()


def test_what_the_folder_sets_is_told_in_every_format_and_where_a_command_ends_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(make_batch(24).present(), tmp_path / "dump.pt")
    torch.save(make_head("original").state_dict(), tmp_path / "c.pt")
    (tmp_path / "pyproject.toml").write_text(
        '[tool.energydiag]\nignore = ["ED"]\nlimit = 12\nfail-on = "never"\ndry-run = true\nlist-fixes = true\n'
    )
    monkeypatch.chdir(tmp_path)
    inspect = ["inspect", "checkpoint", "c.pt", "--batch", "dump.pt", "--head", "original", "--nhead", "2"]
    for kind in ("github", "junit", "text", "md"):
        shown = CliRunner().invoke(app, [*inspect, "--format", kind]).stdout
        first = " ".join(shown[:1200].split())
        assert "--ignore ED" in first
        assert "pyproject.toml" in first
    compare = ["compare", "checkpoints", *inspect[2:], "--save-baseline", "b.json"]
    told = CliRunner().invoke(app, compare)
    assert "baseline: b.json (with --limit 12, set by pyproject.toml)" in told.stderr
    assert "sets dry_run, list_fixes, which the command line alone may" in told.stderr


@pytest.mark.parametrize("name", ["zz", "code", "dump"])
def test_settings_that_are_none_are_told_with_their_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text(f'[tool.energydiag]\n{name} = "ED102"\n')
    monkeypatch.chdir(tmp_path)
    refused = CliRunner().invoke(app, ["rules", "ED101"]).exception
    assert isinstance(refused, UsageError)
    assert "[tool.energydiag] of ./pyproject.toml names no option" in refused.message
    assert "--no-config" in refused.next_step


# --- logs


def slow_crc(data: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@given(
    st.lists(st.sampled_from([0, 1, 3, 4, 5, 100, _WIDEST - 1, _WIDEST, _WIDEST + 1, 2 * _WIDEST, 3000]), max_size=6)
)
def test_checksums_of_spans_of_any_length(lengths: list[int]) -> None:
    data = np.random.default_rng(sum(lengths)).integers(0, 256, sum(lengths), np.uint8)
    length = np.array(lengths, np.int64)
    start = np.cumsum(length) - length
    wanted = [slow_crc(data[a : a + n].tobytes()) for a, n in zip(start.tolist(), lengths, strict=True)]
    assert crc32c(data, start, length).tolist() == wanted


def test_long_records_are_checked_together(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    added = sys.modules["energydiag.runs.event_records"]._added
    monkeypatch.setattr("energydiag.runs.event_records._added", lambda byte: calls.append(len(byte)) or added(byte))
    count = 10_000
    flat = np.zeros(1025 * count, np.uint8)
    crc32c(flat, np.arange(count) * 1025, np.full(count, 1025))
    assert len(calls) < 20
    assert sum(calls) == 2 * count


def mlflow(path: Path, keys: list[str], rows: int) -> Path:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE metrics (key, value, timestamp, run_uuid, step, is_nan)")
        told = ((keys[at % len(keys)], 4 - 0.01 * at, 1000 * at, "r", at, 0) for at in range(rows))
        database.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", told)
    return path


def test_a_database_without_an_index_is_gone_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("energydiag.runs.sqlite_file._MOST_STEPS", 20)  # million
    path = mlflow(tmp_path / "mlflow.db", ["loss", *(f"k{at}" for at in range(3000))], 90_000)
    log = read_run(path, {})
    assert len(log.series["loss"]) == 30
    assert np.array_equal(log.series["loss"].step, np.arange(0, 90_000, 3001))


def test_rows_that_share_what_they_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("energydiag.runs.sqlite_file._READ_TWICE", 0)
    monkeypatch.setattr("energydiag.runs.sqlite_file._SOME_BYTES", 50_000)
    path = mlflow(tmp_path / "mlflow.db", ["loss" + "x" * 900], 100)
    with pytest.raises(UnreadableFile, match="more text than the file is long"):
        read_run(path, {})


def test_the_command_for_a_run_of_a_long_name_works(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "energies.db") as database:
        database.execute("CREATE TABLE metrics (id, timestamp, run_name, step, metrics)")
        for run in ("r0" + "x" * 150, "r1" + "x" * 150):
            rows = ((at, "2026-01-01", run, at, json.dumps({"loss": 4 - 0.01 * at})) for at in range(60))
            database.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?)", rows)
    refused = CliRunner().invoke(app, ["inspect", "run", str(tmp_path / "energies.db")]).exception
    assert isinstance(refused, EnergydiagError)
    command = refused.next_step[refused.next_step.index("energydiag inspect") :].rstrip(".")
    done = subprocess.run(
        command.replace("energydiag", str(Path(sys.executable).with_name("energydiag")), 1),
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "steps 0 to 59" in done.stdout, done.stderr


# --- archives, pickles


def directory(entries: list[tuple[bytes, bytes]]) -> bytes:
    """An archive that is all directory."""
    made = b"".join(
        struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, len(name), len(extra), 0, 0, 0, 0, 0)
        + name
        + extra
        for name, extra in entries
    )
    return b"PK" + made + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, len(entries), len(entries), len(made), 2, 0)


@pytest.mark.parametrize("name", ["c.npz", "c.pt"])
@pytest.mark.parametrize("read", [read_weights, load_batch])
def test_a_directory_of_large_extra_fields(
    name: str, read: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zipfile.ZipInfo, "_decodeExtra", lambda *_: pytest.fail("it was decoded"))
    inside = b"hidden.npy" if name == "c.npz" else b"a/data.pkl"
    (tmp_path / name).write_bytes(directory([(inside, b"\xfe\xca\0\0" * 16_000)] * 3))
    with pytest.raises(UnreadableFile, match="extra field of 64000 bytes"):
        read(tmp_path / name)


def test_a_directory_of_very_many_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_directory, "_MOST_ENTRIES", 20)
    torch.save(dict.fromkeys(map(str, range(30)), torch.zeros(1)), tmp_path / "few.pt")  # one storage
    assert len(read_weights(tmp_path / "few.pt").sets) == 1
    torch.save({str(at): torch.zeros(1) for at in range(30)}, tmp_path / "many.pt")
    with pytest.raises(UnreadableFile, match="more than 20"):
        read_weights(tmp_path / "many.pt")
    assert zip_directory.opened_zip(tmp_path / "few.pt").namelist()


def test_files_that_are_read_together_have_opcodes_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = make_batch(6).present()
    for number in range(4):
        torch.save(batch, tmp_path / f"{number}.pt")
    shards = [{"file": f"{number}.pt", "samples": 6} for number in range(4)]
    (tmp_path / "index.json").write_text(json.dumps({"format": "energydiag-shards", "version": 1, "shards": shards}))
    assert len(load_batch(tmp_path)) == 24
    monkeypatch.setattr(pickle_scan, "_MOST_OPCODES", 500)
    assert len(load_batch(tmp_path / "0.pt")) == 6
    with pytest.raises(UnreadableFile, match="too many opcodes"):
        load_batch(tmp_path)


# --- the command line, the monitor


@pytest.mark.parametrize(
    "words",
    [
        ["compare", "checkpoints", "a", "b", "--batch", "c", "--of", "9" * 5000 + ".head=x"],
        ["compare", "checkpoints", "a", "b", "--batch", "c", "--of", "2.nhead=" + "9" * 5000],
        ["inspect", "checkpoint", "a", "--batch", "c", "--out", "o", "--shard", "1/" + "9" * 5000],
        ["inspect", "run", str(ROOT / "sample_checkpoints/runs/original"), "--negatives", "9" * 400],
        ["inspect", "run", str(ROOT / "sample_checkpoints/runs/original"), "--batch-size", "9" * 400],
    ],
    ids=lambda words: words[-2],
)
def test_numbers_of_very_many_digits_are_mistakes(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, UsageError) or done.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_the_command_in_place_of_python_m_can_be_pasted(tmp_path: Path) -> None:
    words = ["report", "a b$(touch ran)'c.json", "\x1b[31mred", "x\n::error::y"]
    done = subprocess.run(
        [sys.executable, "-m", "energydiag", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    offered = done.stderr.partition("next: ")[2].strip()
    assert offered == """energydiag report 'a b$(touch ran)'"'"'c.json' … …"""
    assert not any(line.startswith("::") for line in done.stderr.splitlines())


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe"])
def test_a_watched_runs_log_is_written_into_plain_files_alone(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    other = tmp_path / "other"
    if kind == "link":
        other.write_text("")
    place = folder / "events.jsonl"
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to(other)
    with pytest.raises(OSError, match=r"."):
        LogFolder(folder, False).append("x\n", "events.jsonl")
    assert kind != "link" or other.read_text() == ""
    assert kind != "dangling link" or not other.exists()
