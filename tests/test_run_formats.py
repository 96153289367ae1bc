"""Formats of training logs: the numbers of the tools that wrote them; damage and doubt are told; nothing runs."""

from __future__ import annotations

import json
import math
import random
import shutil
import sqlite3
import struct
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energydiag.cli import main
from energydiag.discovery import discover
from energydiag.errors import EnergydiagError, UnreadableFile, UsageError
from energydiag.pipeline import inspect_run
from energydiag.runs import RunLog, read_run, table
from energydiag.runs.event_records import _masked, crc32c
from energydiag.runs.read import _found, _source
from energydiag.runs.table import Format, Table

LOGS = Path(__file__).resolve().parent / "foreign_logs"
EXPECTED: dict[str, Any] = json.loads((LOGS / "expected.json").read_text())
RECORDED = [name for name in EXPECTED if name != "versions"]
FORMATS = discover("energydiag.runs", "FORMAT", Format)
KINDS = {
    "lightning/csv": "csv",
    "trainer": "hf-trainer",
    "mlflow/mlruns": "mlflow-files",
    "mlflow/mlflow.db": "mlflow-sqlite",
}


def kind_of(name: str) -> str:
    return KINDS.get(name.partition("#")[0], "trackio" if name.startswith("trackio") else "tensorboard")


def table_of(path: Path | str) -> Table:
    source = _source(path)
    format_, place, _ = _found(source.place)
    return format_.read(place, source)


def points(log: RunLog, name: str) -> list[tuple[float, float]]:
    series = log.series[name]
    return list(zip(series.step.tolist(), series.value.tolist(), strict=True))


def told(log: RunLog) -> str:
    return " ".join(log.notes)


# --- what the tools themselves say


@pytest.mark.parametrize("name", RECORDED)
def test_the_numbers_are_those_of_the_tool(name: str) -> None:
    """Values, steps and times of every metric, bit for bit."""
    read = table_of(LOGS / name)
    step = read.step
    if step is None:
        step = np.full(read.rows, np.nan)
        step[read.columns["step"].row] = read.columns["step"].value
    assert EXPECTED[name]["points"].keys() == read.columns.keys() - {"step"}
    for metric, rows in EXPECTED[name]["points"].items():
        column = read.columns[metric]
        if name == "tensorboard":  # it forgets to take back scalars in the form of tensors when a run is restarted
            rows = list({row[0]: row for row in rows}.values())
        value = [float(row[1]) for row in rows]
        if name.startswith("mlflow/mlflow.db"):  # whose own way of reading gives the largest number for infinity
            value = [math.copysign(math.inf, v) if abs(v) > 1.7e308 else v for v in value]
        np.testing.assert_array_equal(column.value, value, strict=True)
        assert step[column.row].tolist() == [row[0] for row in rows]
        if len(rows[0]) == 3:
            assert read.time is not None
            time = [datetime.fromisoformat(t).timestamp() if isinstance(t, str) else t for *_, t in rows]
            assert read.time[column.row].tolist() == time


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_log_is_known_and_diagnosed(name: str) -> None:
    found = inspect_run(LOGS / name, batch_size=16, head="linear", tau=0.5)
    assert found.run.format == kind_of(name)
    assert {"loss"} <= set(found.run.series)
    file = _found(_source(LOGS / name).place)[1]
    if file.is_file():
        start = file.read_bytes()[:65536]
        assert [known.name for known in FORMATS.values() if known.recognises(file, start)] == [kind_of(name)]


@pytest.mark.parametrize("name", ["mlflow/mlruns#second", "mlflow/mlflow.db#second", "trackio#second", "tensorboard"])
def test_the_same_training_gives_the_same_series(name: str) -> None:
    first, other = read_run(LOGS / "mlflow/mlruns#second"), read_run(LOGS / name)
    assert set(first.series) == {"loss", "energy_positive", "energy_negative", "gradient_norm", "seconds"}
    for ours in ("loss", "energy_positive", "energy_negative", "gradient_norm"):
        kept = other.series[ours]
        np.testing.assert_array_equal(first.series[ours].step, kept.step)
        np.testing.assert_allclose(first.series[ours].value, kept.value, rtol=1e-6)  # event files hold 32 bits
    assert math.isnan(dict(points(other, "loss"))[20])
    assert dict(points(other, "gradient_norm"))[21] == math.inf
    assert other.series["seconds"].value[0] == 0
    if not name.startswith("trackio"):
        assert dict(points(other, "seconds"))[16] == 2


def test_settings_come_along() -> None:
    for name in ("mlflow/mlruns#first", "mlflow/mlflow.db#first", "trackio#first", "lightning/csv", "lightning/events"):
        config = read_run(LOGS / name).config
        assert (float(config["tau"]), int(config["batch_size"])) == (0.5, 16)
    assert read_run(LOGS / "trainer").config["train_batch_size"] == "16"


def test_the_trainer_hides_nan_and_that_is_told() -> None:
    log = read_run(LOGS / "trainer")
    assert np.isfinite(log.series["loss"].value).all()  # one loss was NaN
    assert "does not say that there was none" in told(log)
    assert len(log.series["validation_loss"]) == 4
    assert log.series["learning_rate"].value.max() < 0.03


# --- several runs in one place


def test_one_of_several_runs_is_asked_for() -> None:
    for place, name in ((LOGS / "mlflow/mlruns", "mlruns"), (LOGS / "mlflow", "mlflow.db"), (LOGS / "trackio", "")):
        with pytest.raises(UsageError, match=r"holds 2 runs: .*second.*first") as error:
            read_run(place)
        assert f"inspect run '{place}" in error.value.next_step
        with pytest.raises(UsageError, match="holds no run 'third', but 2 runs"):
            read_run(f"{place}#third")
        for run in ("first", "second"):
            key = EXPECTED.get(f"mlflow/{name}#{run}", {}).get("id")
            by_name = read_run(f"{place}#{run}")
            assert len(by_name.series["energy_positive"]) == (10 if run == "first" else 60)
            for text in (key, key[:12]) if key and name else ():
                assert read_run(f"{LOGS / 'mlflow' / name}#{text}").series.keys() == by_name.series.keys()


def test_an_experiment_and_a_run_are_named_by_their_folders() -> None:
    key = EXPECTED["mlflow/mlruns#first"]["id"]
    (run,) = (LOGS / "mlflow/mlruns").glob(f"*/{key}")
    assert len(read_run(run).series["loss"]) == 10
    assert len(read_run(f"{run.parent}#{key}").series["loss"]) == 10


def test_two_runs_of_one_name_need_their_ids(tmp_path: Path) -> None:
    path = trackio_of(tmp_path / "p.db", {"abc": "run", "abd": "run"})
    with pytest.raises(UsageError, match="may be any of 2 runs") as error:
        read_run(f"{path}#run")
    assert "#abc" in error.value.next_step or "#abd" in error.value.next_step
    assert read_run(f"{path}#abd").series["loss"].value[0] == 1
    with pytest.raises(UsageError, match="may be any of"):
        read_run(f"{path}#ab")


def test_a_file_may_have_the_sign_in_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a#b.csv"
    path.write_text("step,loss\n0,1\n")
    assert points(read_run(path), "loss") == [(0, 1)]


def test_folders_of_event_files_are_told_apart(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_events(tmp_path / "runs" / name / "events.out.tfevents.1.h", [event(0, 5.0, loss=1.0)])
    with pytest.raises(UsageError, match="holds 2 runs: runs/") as error:
        read_run(tmp_path)
    assert "#runs/" in error.value.next_step
    assert points(read_run(f"{tmp_path}#runs/two"), "loss") == [(0, 1)]
    write_events(tmp_path / "events.out.tfevents.2.h", [event(0, 5.0, loss=3.0)])
    log = read_run(tmp_path)
    assert points(log, "loss") == [(0, 3)]
    assert "`runs/one`, `runs/two`" in told(log)


def test_a_folder_with_logs_of_two_kinds_says_which_was_read(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,loss\n0,1\n")
    shutil.copy(LOGS / "trainer/trainer_state.json", tmp_path)
    log = read_run(tmp_path)
    assert log.format == "csv"
    assert "The folder also holds trainer_state.json (hf-trainer), not read" in told(log)


# --- event files


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 127:
        found.append((value & 127) | 128)
        value >>= 7
    return bytes([*found, value])


def span(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


def event(step: int, time: float, starts: bool = False, **values: float) -> bytes:
    summary = b"".join(span(1, span(1, k.encode()) + b"\x15" + struct.pack("<f", v)) for k, v in values.items())
    return (
        b"\x09"
        + struct.pack("<d", time)
        + (b"\x10" + varint(step) if step else b"")
        + (span(7, b"\x08\x01") if starts else b"")
        + (span(5, summary) if values else b"")
    )


def checksum(data: bytes) -> bytes:
    flat, one = np.frombuffer(data, np.uint8), np.array([len(data)])
    return struct.pack("<I", int(_masked(crc32c(flat, one * 0, one))[0]))


def record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + checksum(length) + data + checksum(data)


def write_events(path: Path, events: list[bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(map(record, events)))
    return path


def plain_crc(data: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def test_checksums_by_a_slow_oracle() -> None:
    dice = random.Random(0)
    spans = [
        b"123456789",
        b"",
        b"a",
        b"abc",
        b"abcd",
        *(dice.randbytes(n) for n in (5, 16, 17, 1023, 1024, 1025, 5000)),
    ]
    length = np.array([len(data) for data in spans])
    flat = np.frombuffer(b"".join(spans), np.uint8)
    found = crc32c(flat, np.cumsum(length) - length, length).tolist()
    assert found == [plain_crc(data) for data in spans]
    assert found[0] == 0xE3069283  # the check value of the catalogue of CRCs


def test_steps_of_any_size_and_events_with_several_values(tmp_path: Path) -> None:
    steps = [-5, 0, 1, 127, 128, 16_383, 16_384, 2**31, 2**40, 2**53]
    path = write_events(tmp_path / "e.tfevents", [event(n, 10 + at, loss=at, gap=-at) for at, n in enumerate(steps)])
    log = read_run(path)
    assert points(log, "loss") == [(n, at) for at, n in enumerate(steps)]
    assert points(log, "gap") == [(n, -at) for at, n in enumerate(steps)]
    assert points(log, "seconds") == [(n, at) for at, n in enumerate(steps)]


def test_a_step_behind_the_summary_counts(tmp_path: Path) -> None:
    """Protocol buffers may have their fields in any order, and the last one of a kind counts."""
    usual = [event(n, 1.0, loss=n) for n in range(1, 4)]
    path = write_events(tmp_path / "e.tfevents", [*usual, event(9, 1.0, loss=5) + b"\x10\x07", *usual[2:]])
    assert points(read_run(path), "loss") == [(1, 1), (2, 2), (3, 3), (7, 5)]


def test_more_than_ten_thousand_points_are_all_read(tmp_path: Path) -> None:
    path = write_events(tmp_path / "e.tfevents", [event(n, n, loss=n / 7) for n in range(12_000)])
    assert len(read_run(path).series["loss"]) == 12_000


def test_a_damaged_record_is_left_out_and_told(tmp_path: Path) -> None:
    records = [record(event(n, n, loss=n)) for n in range(5)]
    path = tmp_path / "e.tfevents"
    hurt = bytearray(records[2])
    hurt[-6] ^= 1
    path.write_bytes(b"".join([*records[:2], hurt, *records[3:]]))
    log = read_run(path)
    assert [step for step, _ in points(log, "loss")] == [0, 1, 3, 4]
    assert "1 record left out, with a wrong checksum" in told(log)
    hurt = bytearray(records[2])
    hurt[0] ^= 1
    path.write_bytes(b"".join([*records[:2], hurt, *records[3:]]))
    log = read_run(path)
    assert [step for step, _ in points(log, "loss")] == [0, 1]
    rest = sum(map(len, records[2:]))
    assert f"is damaged at byte {len(records[0]) + len(records[1])}: the {rest} bytes from there on" in told(log)


def test_a_tail_that_is_cut_is_told(tmp_path: Path) -> None:
    records = [record(event(n, n, loss=n)) for n in range(8)]
    ends = np.cumsum([len(data) for data in records]).tolist()
    whole = b"".join(records)
    path = tmp_path / "e.tfevents"
    for size in range(ends[1], len(whole)):
        path.write_bytes(whole[:size])
        log = read_run(path)
        assert len(log.series["loss"]) == sum(end <= size for end in ends)
        assert ("ends within a record" in told(log)) == (size not in ends)


def test_a_restart_takes_back_what_it_begins_before(tmp_path: Path) -> None:
    write_events(tmp_path / "b.tfevents.1", [event(n, n, loss=n) for n in range(8)])
    write_events(
        tmp_path / "a.tfevents.2", [event(5, 20, starts=True), *[event(n, 20 + n, loss=10 * n) for n in (5, 6)]]
    )
    log = read_run(tmp_path)  # in the order in which they were begun, not of names
    assert points(log, "loss") == [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 50), (6, 60)]
    assert "3 points left out that a restart" in told(log)
    assert "2 event files" in told(log)


def test_a_restart_that_says_nothing_is_told(tmp_path: Path) -> None:
    write_events(tmp_path / "a.tfevents.1", [event(n, n, loss=n) for n in range(8)])
    write_events(tmp_path / "a.tfevents.2", [event(n, 20 + n, loss=10 * n) for n in (5, 6)])
    log = read_run(tmp_path)
    assert points(log, "loss")[4:] == [(4, 4), (5, 50), (6, 60), (7, 7)]
    assert "`a.tfevents.2` begins again at step 5, files before it went to 7" in told(log)
    assert "2 steps logged more than once" in told(log)
    alone = read_run(tmp_path / "a.tfevents.2")
    assert points(alone, "loss") == [(5, 50), (6, 60)]
    assert "1 event file beside this one, not read" in told(alone)


def test_what_is_no_scalar_is_counted() -> None:
    log = read_run(LOGS / "tensorboard")
    assert "Values left out, no scalars: " in told(log)
    assert "text (" in told(log)
    assert "left out that a restart" in told(log)


def test_random_events_are_read_as_tensorboard_reads_them(tmp_path: Path) -> None:
    """Every kind of number, in both forms, against the generated classes and TensorBoard's own tensors."""
    pytest.importorskip("tensorboard")
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.util.tensor_util import make_ndarray, make_tensor_proto

    dice, events, wanted = random.Random(0), [], []
    kinds = ["float32", "float64", "int32", "int64", "uint8", "int16", "int8", "bool", "float16"]
    for step in range(400):
        kind = dice.choice(["simple", *kinds])
        made = Event(wall_time=dice.uniform(0, 1e9), step=dice.choice([step, -step, step << 30]))
        number = dice.choice([0.0, 1.0, dice.gauss(0, 10), float(dice.randrange(100))])
        if kind == "simple":
            made.summary.value.append(Summary.Value(tag="loss", simple_value=number))
            wanted.append((made.step, float(np.float32(number))))
        else:
            proto = make_tensor_proto(np.array(number if kind.startswith("f") else abs(int(number)), kind))
            if dice.random() < 0.5 and kind != "bool":
                array = make_ndarray(proto)
                for field in (
                    "float_val",
                    "double_val",
                    "int_val",
                    "int64_val",
                    "half_val",
                    "uint32_val",
                    "uint64_val",
                ):
                    proto.ClearField(field)
                proto.tensor_content = array.tobytes()
            metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="scalars"))
            made.summary.value.append(Summary.Value(tag="loss", tensor=proto, metadata=metadata))
            wanted.append((made.step, float(make_ndarray(proto))))
        if dice.random() < 0.2:
            made.summary.value.append(Summary.Value(tag="gap", simple_value=1.0))
        events.append(made.SerializeToString())
    read = table_of(write_events(tmp_path / "e.tfevents", events))
    assert read.step is not None
    column = read.columns["loss"]
    assert list(zip(read.step[column.row].tolist(), column.value.tolist(), strict=True)) == wanted


def test_a_real_training_is_read_as_tensorboard_reads_it(tmp_path: Path) -> None:
    """Written by torch's SummaryWriter while a line is fitted."""
    pytest.importorskip("tensorboard")
    import torch
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    weight = torch.zeros(3, requires_grad=True)
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(300):
            loss = ((weight - torch.tensor([1.0, 2.0, 3.0])) ** 2).sum()
            loss.backward()
            assert weight.grad is not None
            writer.add_scalar("train/loss", loss.detach(), step, new_style=step > 150)
            writer.add_scalar("grad_norm", weight.grad.norm(), step)
            with torch.no_grad():
                weight -= 0.01 * weight.grad
                weight.grad.zero_()
    own = EventAccumulator(str(tmp_path), size_guidance={"scalars": 0, "tensors": 0}).Reload()
    log = read_run(tmp_path)
    assert points(log, "gradient_norm") == [(one.step, one.value) for one in own.Scalars("grad_norm")]
    assert len(log.series["loss"]) == 300


# --- the Trainer's state


def test_a_state_that_ends_too_early_gives_what_is_there(tmp_path: Path) -> None:
    whole = (LOGS / "trainer/trainer_state.json").read_text()
    path = tmp_path / "trainer_state.json"
    path.write_text(whole[: whole.index('"step": 30')])
    log = read_run(path)
    assert log.series["loss"].step[-1] == 27
    assert "`log_history` ends too early or is damaged after 10 entries" in told(log)


def test_the_latest_checkpoint_has_the_longest_log(tmp_path: Path) -> None:
    for step in (5, 10, 100):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        history = [{"step": n, "loss": 1.0} for n in range(step)]
        (folder / "trainer_state.json").write_text(json.dumps({"log_history": history}, indent=2))
    assert len(read_run(tmp_path).series["loss"]) == 100


def test_entries_of_any_length_are_read(tmp_path: Path) -> None:
    history = [{"step": n, "loss": 1.0, "said": "x" * (10**n)} for n in range(6)]
    path = tmp_path / "state.json"
    path.write_text(json.dumps({"log_history": history}))
    assert len(read_run(path).series["loss"]) == 6


# --- databases and stores


def trackio_of(path: Path, runs: dict[str, str], rows: int = 3, text: str | None = None) -> Path:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "CREATE TABLE metrics (id INTEGER PRIMARY KEY, run_id TEXT, timestamp TEXT, run_name TEXT, step INT, "
            "metrics TEXT)"
        )
        for key, name in runs.items():
            for step in range(rows):
                cells = text or json.dumps({"loss": step + 1.0})
                values = (key, f"2026-01-01T00:00:0{step}+00:00", name, step, cells)
                database.execute(
                    "INSERT INTO metrics (run_id, timestamp, run_name, step, metrics) VALUES (?, ?, ?, ?, ?)", values
                )
    return path


def test_a_database_that_is_being_written_is_read_to_its_end(tmp_path: Path) -> None:
    path = trackio_of(tmp_path / "p.db", {"a": "run"})
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("UPDATE metrics SET metrics = '{\"loss\": 7.5}' WHERE step = 2")
        writer.commit()
        before = {file.name: file.read_bytes() for file in tmp_path.iterdir() if not file.name.endswith("-shm")}
        log = read_run(path)
        after = {file.name: file.read_bytes() for file in tmp_path.iterdir() if not file.name.endswith("-shm")}
    assert points(log, "loss") == [(0, 1), (1, 2), (2, 7.5)]
    assert "was open for writing" in told(log)
    assert before == after


def test_a_journal_is_told_and_not_followed(tmp_path: Path) -> None:
    path = trackio_of(tmp_path / "p.db", {"a": "run"})
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "p.db-journal").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(504) + str(victim).encode())
    log = read_run(path)
    assert len(log.series["loss"]) == 3
    assert "may be missing or half written" in told(log)
    assert victim.read_text() == "mine"
    assert (tmp_path / "p.db-journal").exists()


def test_an_older_trackio_knows_runs_by_name(tmp_path: Path) -> None:
    path = trackio_of(tmp_path / "p.db", {"a": "run"})
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("ALTER TABLE metrics DROP COLUMN run_id")
    assert points(read_run(f"{tmp_path}#run"), "loss") == [(0, 1), (1, 2), (2, 3)]


ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) "
SCHEMES: dict[str, str] = {
    "a view": f"CREATE VIEW metrics AS {ENDLESS} SELECT '' AS run_id, '' AS timestamp, '' AS run_name, x AS step, "
    "'{}' AS metrics FROM n",
    "a generated column": "CREATE TABLE metrics (timestamp TEXT, run_name TEXT, step INT, metrics TEXT AS "
    "(hex(zeroblob(1000000000))))",
    "a virtual table": "CREATE VIRTUAL TABLE metrics USING fts5(key, value, timestamp, run_uuid, step, is_nan)",
}


@pytest.mark.parametrize("name", SCHEMES)
def test_what_computes_when_it_is_read_is_no_log(name: str, tmp_path: Path) -> None:
    path = tmp_path / "p.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(SCHEMES[name])
    with pytest.raises(UnreadableFile, match="in no known format"):
        read_run(path)


def test_cells_of_any_kind_are_told(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE metrics (key, value, timestamp, run_uuid, step, is_nan)")
        rows = [("loss", 1.5, 1000, "a", 0, 0), ("loss", "bad", 2000, "a", 1, 0), ("loss", 2.5, None, "a", 2, 0)]
        rows += [
            ("loss", 0, 4000, "a", 3, 1),
            ("loss", b"\xff", 5000, "a", 4, 0),
            ("loss", -1.7976931348623157e308, 6000, "a", 5, 0),
        ]
        database.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", rows)
    log = read_run(path)
    assert "3 rows left out, no number" in told(log)
    assert log.series["loss"].step.tolist() == [0, 3, 5]
    np.testing.assert_array_equal(log.series["loss"].value, [1.5, math.nan, -math.inf])


def test_text_that_is_no_json_is_told(tmp_path: Path) -> None:
    path = trackio_of(
        tmp_path / "p.db", {"a": "run"}, text='{"loss": "NaN", "table": {"_type": "trackio.table"}, "x": {"y": 2}}'
    )
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("INSERT INTO metrics VALUES (9, 'a', 'now', 'run', 9, '[1')")
    read = table_of(path)
    assert np.isnan(read.columns["loss"].value).all()
    assert read.columns["x/y"].value.tolist() == [2, 2, 2]
    assert read.wordy == {"table": 3}
    assert "1 row left out, no JSON object" in " ".join(read.notes)


def mlflow_run(folder: Path, **files: str) -> Path:
    for name, text in {"meta.yaml": "", "metrics/.": "", **files}.items():
        path = folder / name.replace("__", "/")
        if name.endswith("."):
            (folder / "metrics").mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return folder


def test_odd_lines_of_a_store_are_told(tmp_path: Path) -> None:
    good = "1000 3.5 0\n2000 nan 1\n"
    lines = good + "what is that\n3000 inf 2 data 0a1b\n4000 1\n\n5000 -Infinity 7"
    log = read_run(mlflow_run(tmp_path, metrics__train__loss=lines, metrics__gap=good))
    assert log.names["loss"] == "train/loss"
    np.testing.assert_equal(points(log, "loss"), [(0, 1), (1, math.nan), (2, math.inf), (7, -math.inf)])
    np.testing.assert_equal(points(log, "gap"), [(0, 3.5), (1, math.nan)])
    assert "`train/loss` (2)" in told(log)


def test_many_lines_are_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("energydiag.runs.mlflow_files._TOGETHER", 7)
    for count in (0, 1, 6, 7, 8, 20, 21):
        text = "".join(f"{n} {n / 3} {n}\n" for n in range(count))
        for ending in ("", "99 1 99"):
            folder = mlflow_run(tmp_path / f"{count}{ending}", metrics__loss="0 1 -1\n" + text + ending)
            wanted = [(-1, 1), *((n, n / 3) for n in range(count)), *([(99, 1)] if ending else [])]
            assert points(read_run(folder), "loss") == wanted


# --- time


@pytest.mark.parametrize(
    ("name", "times", "seconds"),
    [
        ("_timestamp", [1.7e9, 1.7e9 + 2, 1.7e9 + 5], [0, 2, 5]),
        ("_runtime", [3.0, 5.0, 8.0], [0, 2, 5]),
        ("timestamp", [1.7e12, 1.7e12 + 2000, 1.7e12 + 5000], [0, 2, 5]),
        ("seconds", [0.0, 2.0, 5.0], [0, 2, 5]),
        ("seconds", [math.nan, 2.0, 5.0], [0, 3]),
    ],
)
def test_wall_clock_is_seconds_since_the_first_point(
    name: str, times: list[float], seconds: list[float], tmp_path: Path
) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps({"step": n, "loss": 1, name: time}) + "\n" for n, time in enumerate(times)))
    assert read_run(path).series["seconds"].value.tolist() == seconds


def test_a_clock_that_runs_back_is_none(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,loss,elapsed\n0,1,5\n1,1,6\n2,1,1\n")
    log = read_run(path)
    assert "seconds" not in log.series
    assert "`elapsed` runs back at step 2 and was not taken as time" in told(log)


# --- limits and strangers


def small(kind: str, folder: Path) -> Path:
    """A log of each format that one file holds."""
    if kind == "tensorboard":
        return write_events(folder / "e.tfevents", [event(n, n, loss=n, gap=1.0) for n in range(6)])
    if kind == "trackio":
        return trackio_of(folder / "p.db", {"a": "run"})
    if kind == "mlflow-files":
        return mlflow_run(folder / "run", metrics__loss="1000 3.5 0\n2000 nan 1\n")
    if kind == "mlflow-sqlite":
        return Path(shutil.copy(LOGS / "mlflow/mlflow.db", folder))
    if kind == "hf-trainer":
        return Path(shutil.copy(LOGS / "trainer/trainer_state.json", folder))
    path = folder / "metrics"
    path.write_text("step,loss\n0,1\n1,2\n" if kind == "csv" else '{"step": 0, "loss": 1}\n{"step": 1, "loss": 2}\n')
    return path


def test_every_format_is_here() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for kind in FORMATS:
            inner = Path(folder) / kind
            inner.mkdir()
            place = small(kind, inner)
            assert _found(place)[0].name == kind


@pytest.mark.parametrize("kind", FORMATS)
def test_more_numbers_than_are_read_are_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = small(kind, tmp_path)
    monkeypatch.setattr(table, "MOST_NUMBERS", 1)
    with pytest.raises(UnreadableFile, match="has more than 1 numbers"):
        read_run(f"{place}#second" if kind == "mlflow-sqlite" else place)


def read_or_told(path: Path | str) -> RunLog | None:
    told = None
    try:
        return read_run(path)
    except EnergydiagError as error:
        told = error
    assert told.next_step
    assert len(told.message) < 5000
    return None


FILES = [kind for kind in FORMATS if kind != "mlflow-files"]


@pytest.mark.parametrize("kind", FILES)
def test_a_log_that_is_cut_anywhere_is_told_or_read(kind: str, tmp_path: Path) -> None:
    place = small(kind, tmp_path)
    whole = place.read_bytes()
    for part in range(17):
        place.write_bytes(whole[: len(whole) * part // 16])
        read_or_told(f"{place}#second" if kind == "mlflow-sqlite" else place)


def flip(content: bytearray, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))


def overwrite(content: bytearray, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(content) - 1))
    some = data.draw(st.binary(min_size=1, max_size=12))
    content[place : place + len(some)] = some


def cut(content: bytearray, data: st.DataObject) -> None:
    del content[data.draw(st.integers(0, len(content))) :]


@pytest.mark.parametrize("kind", FILES)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_damaged_log_is_told_or_read(kind: str, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = small(kind, Path(folder))
        content = bytearray(place.read_bytes())
        data.draw(st.sampled_from([flip, overwrite, cut]))(content, data)
        place.write_bytes(content)
        read_or_told(f"{place}#second" if kind == "mlflow-sqlite" else place)


STARTS = [b"", b"SQLite format 3\0", b'{"log_history": [', record(event(0, 0, loss=1)), b"step,loss\n"]


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(STARTS), st.binary(max_size=300), st.sampled_from(["log", "x.tfevents.1", "mlflow.db"]))
def test_garbage_is_told_or_read(start: bytes, rest: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(start + rest)
        read_or_told(path)
        read_or_told(folder)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.binary(max_size=60) | st.builds(event, st.integers(-5, 2**62), st.floats(), st.booleans())))
def test_events_of_any_bytes_are_told_or_read(events: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_events(Path(folder) / "e.tfevents", [*events, event(1, 1.0, loss=2.0)])
        log = read_or_told(path)
        assert log is None or len(log.series["loss"]) >= (not any(b"\x38" in one or b"\x3a" in one for one in events))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.binary(max_size=40), max_size=8))
def test_lines_of_any_bytes_are_told_or_read(lines: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = mlflow_run(Path(folder), metrics__loss="", metrics__gap="1 2 3\n")
        (run / "metrics" / "loss").write_bytes(b"1 2 3\n" + b"\n".join(lines))
        assert read_or_told(run) is not None


EVIL = "\x1b[2J\x1b]0;evil\x07[bold red]x[/]\u202e<script>`|\n"


def evil_events(folder: Path) -> Path:
    events = [event(n, n, **{EVIL: 1.0, "loss": 1.0}) for n in range(30)]
    return write_events(folder / "e.tfevents", events)


def evil_trackio(folder: Path) -> Path:
    return trackio_of(folder / "p.db", {EVIL: EVIL, "b": EVIL}, text=json.dumps({EVIL: 1, "loss": 2}))


def evil_state(folder: Path) -> Path:
    path = folder / "state.json"
    path.write_text(json.dumps({"log_history": [{EVIL: 1, "loss": 2, "step": n} for n in range(30)], EVIL: EVIL}))
    return path


@pytest.mark.parametrize("make", [evil_events, evil_trackio, evil_state])
def test_names_of_strangers_are_inert(
    make: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make(tmp_path)
    for arguments in (
        (path,),
        (path, "--format", "md"),
        (f"{path}#b",),
        (f"{path}#{EVIL}",),
        (path, "--map", f"gap={EVIL}"),
    ):
        monkeypatch.setattr(sys, "argv", ["energydiag", "inspect", "run", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        shown = "".join(capsys.readouterr())
        assert stopped.value.code in (0, 1, 2)
        assert not {"\x1b", "\x07", "\u202e"} & set(shown)
        assert "Traceback" not in shown


def test_folders_that_go_round_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "in" / "metrics").mkdir(parents=True)
    (tmp_path / "in" / "again").symlink_to(tmp_path)
    (tmp_path / "in" / "metrics" / "again").symlink_to(tmp_path)
    assert read_or_told(tmp_path) is None
    (tmp_path / "in" / "meta.yaml").write_text("")
    assert read_or_told(tmp_path) is None
