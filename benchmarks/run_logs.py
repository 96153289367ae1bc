"""How fast training logs are read: 50,000 steps of 20 quantities in each format, side by side.

python benchmarks/run_logs.py [--steps N] [FORMAT ...]

The logs have what the tools write, byte for byte where that matters to a reader, so that none of the tools is needed.
Each is read in a process of its own; what importing energydiag takes is shown by itself and taken away.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from energydiag.runs.event_records import _masked, crc32c  # noqa: E402

BEGIN = 1_700_000_000.0
NAMES = [
    *("loss", "info_nce", "val_loss", "lr", "tau", "e_pos", "e_neg", "energy_gap", "auroc", "top1", "grad_norm"),
    *(f"layers/{n}/attention/weight_norm" for n in range(9)),
]
Rows = Iterator[tuple[int, dict[str, float]]]


def rows(steps: int) -> Rows:
    """What a training loop would log."""
    dice = random.Random(0)
    for step in range(steps):
        falls = 1 + 3 * math.exp(-5 * step / steps)
        yield step, {name: falls + dice.gauss(0, 0.05) + at for at, name in enumerate(NAMES)}


def as_csv(folder: Path, made: Rows) -> Path:
    path = folder / "metrics.csv"
    with path.open("w") as stream:
        stream.write(f"step,{','.join(NAMES)}\n")
        stream.writelines(f"{step},{','.join(map(repr, row.values()))}\n" for step, row in made)
    return path


def as_sparse_csv(folder: Path, made: Rows) -> Path:
    """As Lightning's CSVLogger: training and validation in rows of their own, the other cells empty."""
    path = folder / "metrics.csv"
    half = len(NAMES) // 2
    with path.open("w") as stream:
        stream.write(f"{','.join(NAMES)},step\n")
        for step, row in made:
            cells = list(map(repr, row.values()))
            stream.write(f"{','.join([*cells[:half], *[''] * (len(NAMES) - half)])},{step}\n")
            stream.write(f"{','.join([*[''] * half, *cells[half:]])},{step}\n")
    return path


def as_jsonl(folder: Path, made: Rows) -> Path:
    path = folder / "metrics.jsonl"
    with path.open("w") as stream:
        stream.writelines(json.dumps({"_step": step, "_runtime": step / 9, **row}) + "\n" for step, row in made)
    return path


def as_trainer_state(folder: Path, made: Rows) -> Path:
    path = folder / "trainer_state.json"
    history = [{"epoch": step / 1000, **row, "step": step} for step, row in made]
    path.write_text(json.dumps({"global_step": len(history), "log_history": history}, indent=2, sort_keys=True))
    return path


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def _span(field: int, content: bytes) -> bytes:
    return bytes([field << 3 | 2]) + _varint(len(content)) + content


def _simple(tag: str, value: float) -> bytes:
    return _span(1, tag.encode()) + b"\x15" + struct.pack("<f", value)


def _tensor(tag: str, value: float) -> bytes:
    """As TensorFlow's and torch's newer way: a tensor of rank 0, shown by the plugin of scalars."""
    tensor = b"\x08\x01\x12\x00" + _span(5, struct.pack("<f", value))
    return _span(1, tag.encode()) + _span(8, tensor) + _span(9, _span(1, _span(1, b"scalars")))


def as_events(folder: Path, made: Rows, value_of: Callable[[str, float], bytes] = _simple) -> Path:
    path = folder / "events.out.tfevents.1700000000.host.1.0"
    with path.open("wb") as stream:
        events = [struct.pack("<cd", b"\x09", BEGIN) + _span(3, b"brain.Event:2")]
        for step, row in made:
            head = struct.pack("<cd", b"\x09", BEGIN + step / 9) + (b"\x10" + _varint(step) if step else b"")
            events += [head + _span(5, _span(1, value_of(tag, value))) for tag, value in row.items()]
        lengths = np.array([len(event) for event in events], np.int64)
        heads = np.frombuffer(lengths.astype("<u8").tobytes(), np.uint8)
        every = np.frombuffer(b"".join(events), np.uint8)
        start = np.cumsum(lengths) - lengths
        of_head = _masked(crc32c(heads, np.arange(len(events)) * 8, np.full(len(events), 8)))
        of_data = _masked(crc32c(every, start, lengths))
        for event, one, other in zip(events, of_head.tolist(), of_data.tolist(), strict=True):
            stream.write(struct.pack("<QI", len(event), one) + event + struct.pack("<I", other))
    return path


def as_tensor_events(folder: Path, made: Rows) -> Path:
    return as_events(folder, made, _tensor)


def as_mlflow_files(folder: Path, made: Rows) -> Path:
    run = folder / "1" / "0123456789abcdef0123456789abcdef"
    lines: dict[str, list[str]] = {name: [] for name in NAMES}
    for step, row in made:
        for name, value in row.items():
            lines[name].append(f"{int(1000 * (BEGIN + step / 9))} {value} {step}\n")
    for name, text in lines.items():
        file = run / "metrics" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(text))
    (run / "meta.yaml").write_text("run_name: big\n")
    (folder / "1" / "meta.yaml").write_text("name: one\n")
    return run


def as_mlflow_sqlite(folder: Path, made: Rows) -> Path:
    path = folder / "mlflow.db"
    with sqlite3.connect(path) as database:
        database.execute(
            "CREATE TABLE metrics (key VARCHAR(250) NOT NULL, value FLOAT NOT NULL, timestamp BIGINT NOT NULL, "
            "run_uuid VARCHAR(32) NOT NULL, step BIGINT DEFAULT '0' NOT NULL, is_nan BOOLEAN DEFAULT '0' NOT NULL, "
            "CONSTRAINT metric_pk PRIMARY KEY (key, timestamp, step, run_uuid, value, is_nan))"
        )
        database.execute("CREATE TABLE runs (run_uuid VARCHAR(32) NOT NULL PRIMARY KEY, name VARCHAR(250))")
        run = "0123456789abcdef0123456789abcdef"
        database.execute("INSERT INTO runs VALUES (?, ?)", (run, "big"))
        points = (
            (name, value, int(1000 * (BEGIN + step / 9)), run, step, 0)
            for step, row in made
            for name, value in row.items()
        )
        database.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", points)
        database.execute("CREATE INDEX index_metrics_run_uuid ON metrics (run_uuid)")
        database.execute("CREATE INDEX index_metrics_run_uuid_key_step ON metrics (run_uuid, key, step)")
        database.execute("CREATE TABLE latest_metrics (key VARCHAR(250), timestamp BIGINT, run_uuid VARCHAR(32))")
        database.execute("INSERT INTO latest_metrics SELECT DISTINCT key, 0, run_uuid FROM metrics")
    return path


def as_trackio(folder: Path, made: Rows) -> Path:
    path = folder / "project.db"
    with sqlite3.connect(path) as database:
        database.execute(
            "CREATE TABLE metrics (id INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, timestamp TEXT NOT "
            "NULL, run_name TEXT NOT NULL, step INTEGER NOT NULL, metrics TEXT NOT NULL, log_id TEXT, space_id TEXT)"
        )
        points = (
            (datetime.fromtimestamp(BEGIN + step / 9, timezone.utc).isoformat(), step, json.dumps(row).encode())
            for step, row in made
        )
        insert = "INSERT INTO metrics VALUES (NULL, 'abc', ?, 'big', ?, ?, NULL, NULL)"
        database.executemany(insert, points)
    return path


MAKERS: dict[str, Callable[[Path, Rows], Path]] = {
    "csv": as_csv,
    "csv, sparse": as_sparse_csv,
    "jsonl": as_jsonl,
    "hf-trainer": as_trainer_state,
    "tensorboard": as_events,
    "tensorboard, tensors": as_tensor_events,
    "mlflow-files": as_mlflow_files,
    "mlflow-sqlite": as_mlflow_sqlite,
    "trackio": as_trackio,
}


def read(path: str) -> None:
    """In a process of its own: start-up, then the reading, in seconds of clock and of computing."""
    begun = time.perf_counter()
    from energydiag.discovery import discover
    from energydiag.runs import read_run
    from energydiag.runs.table import Format

    discover("energydiag.runs", "FORMAT", Format)
    ready, computed = time.perf_counter(), time.process_time()
    log = read_run(path, {"loss": "loss"})
    done, used = time.perf_counter(), time.process_time() - computed
    points = sum(len(series) for series in log.series.values())
    memory = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024  # Linux alone
    print(json.dumps([ready - begun, done - ready, used, memory, points, log.rows]))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("formats", nargs="*", metavar="FORMAT", help=f"of {', '.join(MAKERS)}")
    options.add_argument("--steps", type=int, default=50_000)
    options.add_argument("--read", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.read:
        read(chosen.read)
        return
    print(f"{chosen.steps} steps of {len(NAMES)} quantities, one core; median of 3")
    print(f"{'':22}{'size':>8}{'start-up':>10}{'reading':>10}{'computing':>11}{'memory':>10}")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for name in chosen.formats or MAKERS:
        with tempfile.TemporaryDirectory() as folder:
            path = MAKERS[name](Path(folder), rows(chosen.steps))
            size = sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
            command = [sys.executable, __file__, "--read", str(path)]
            told = [json.loads(subprocess.check_output(command, env=environment)) for _ in range(3)]
        start, reading, computing, memory, *_ = (sorted(column)[1] for column in zip(*told, strict=True))
        print(f"{name:22}{size / 2**20:5.0f}MiB{start:9.2f}s{reading:9.2f}s{computing:10.2f}s{memory:7.0f}MiB")


if __name__ == "__main__":
    main()
