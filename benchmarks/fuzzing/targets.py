"""What reads files, and whole files for each reader to begin with."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import io
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

LARGEST = 1 << 14
"""Bytes of an input's file; those to begin with have a few thousand, but for kept answers and baselines."""

Folder = dict[str, bytes]
"""The files of one input, by name; a reader of single files gets one called ``file``."""


@dataclass(frozen=True)
class Target:
    """Something that reads.

    Attributes:
        read: Given the folder of an input: reads all of it.
        seeds: Whole inputs to begin with.
        use: What a command does with it besides.
    """

    read: Callable[[Path], object]
    seeds: Callable[[], list[Folder]]
    use: Callable[[Path], object] | None = None


def _kinds(*names: str) -> list[Folder]:
    from hostile.truncated import whole

    return [{"file": whole(name)} for name in names]


def _small(form: str) -> Folder:
    """A file of three tensors and a number, which takes little time to read and to change."""
    import safetensors.torch
    import torch

    state = {"a": torch.ones(2, 3), "b": torch.arange(4), "c": torch.zeros(1)}
    stream = io.BytesIO()
    if form == "safetensors":
        return {"file": safetensors.torch.save(state, {"head": "linear"})}
    torch.save({"model": state, "step": 3}, stream, _use_new_zipfile_serialization=form == "zip")
    return {"file": stream.getvalue()}


def _sharded() -> list[Folder]:
    import torch

    index = b'{"metadata": {"total_size": 68}, "weight_map": {"a": "1.bin", "b": "1.bin", "c": "2.bin"}}'
    parts = {"1.bin": {"a": torch.ones(2, 3), "b": torch.arange(4)}, "2.bin": {"c": torch.zeros(1)}}
    torch_form: Folder = {"pytorch_model.bin.index.json": index}
    for name, part in parts.items():
        stream = io.BytesIO()
        torch.save(part, stream)
        torch_form[name] = stream.getvalue()
    return [_folder_of("folders:shard_of_other_keys"), _folder_of("folders:safetensors_shard_missing"), torch_form]


def _folder_of(name: str) -> Folder:
    from hostile import payloads

    payload = next(one for one in payloads() if one.name == name)
    with tempfile.TemporaryDirectory() as place:
        made = payload.make(Path(place))
        return {path.name: path.read_bytes() for path in made.iterdir()}


def _distributed() -> list[Folder]:
    import torch
    import torch.distributed.checkpoint as distributed

    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is not distributed
        distributed.save({"a": {"b": torch.ones(2, 3)}, "c": torch.zeros(1), "d": 3}, checkpoint_id=name, no_dist=True)
        small = {path.name: path.read_bytes() for path in Path(name).iterdir()}
    return [small]


def _shards() -> list[Folder]:
    from hostile.truncated import whole

    index = b'{"format": "energydiag-shards", "version": 1, "shards": [{"file": "a.npz", "samples": 6}]}'
    return [{"index.json": index, "a.npz": whole("npz")}]


def _logs() -> list[Folder]:
    table = b"step,loss,grad_norm\n" + b"".join(b"%d,%.4f,0.5\n" % (n, 2 / (n + 1)) for n in range(12))
    lines = b"".join(b'{"step": %d, "train": {"loss": %.4f}}\n' % (n, 2 / (n + 1)) for n in range(12))
    config = b'{"batch_size": 64, "head": "original", "surgery": ["head=linear"], "tau": 0.5}'
    return [{"metrics.csv": table, "config.json": config}, {"metrics.jsonl": lines}]


def _recorded(pattern: str) -> Callable[[], list[Folder]]:
    """Logs that other tools wrote, those that fit an input."""

    def found() -> list[Folder]:
        files = sorted((ROOT / "tests" / "foreign_logs").glob(pattern))
        return [{path.name: path.read_bytes()} for path in files if path.is_file() and path.stat().st_size < LARGEST]

    return found


def _databases() -> list[Folder]:
    """The tables of MLflow and trackio, with a few rows."""
    import sqlite3

    found = []
    for name in ("mlflow/mlflow.db", "trackio/energies.db"):
        with tempfile.TemporaryDirectory() as place:
            path = Path(place, "small.db")
            small = sqlite3.connect(path)
            small.execute("PRAGMA page_size = 512")
            whole = sqlite3.connect(f"file:{ROOT / 'tests' / 'foreign_logs' / name}?mode=ro&immutable=1", uri=True)
            tables = "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            for table, sql in whole.execute(tables).fetchall():
                rows = whole.execute(f'SELECT * FROM "{table}" LIMIT 8').fetchall()
                if rows:
                    small.execute(sql)
                    small.executemany(f'INSERT INTO "{table}" VALUES ({", ".join("?" * len(rows[0]))})', rows)
            small.commit()
            small.close()
            whole.close()
            found.append({"small.db": path.read_bytes()})
    return found


def _named(folder: Path) -> Path:
    return folder / "file" if (folder / "file").exists() else folder


def _read_checkpoint(folder: Path) -> object:
    from energydiag.checkpoints import read_weights

    weights = read_weights(_named(folder))
    try:
        return [one.read({key: key for key in one.outlines}) for one in weights.sets]
    finally:
        weights.check.sha256()


def _use_checkpoint(folder: Path) -> object:
    from energydiag.checkpoints.step import step_inside
    from energydiag.pipeline import load_checkpoint

    return step_inside(_named(folder)), load_checkpoint(_named(folder), head="linear", nhead=2)


def _read_batch(folder: Path) -> object:
    from energydiag.batches import read_batch

    found = read_batch(_named(folder))
    return found.batch.unusable(), found.check().sha256()


def _use_batch(folder: Path) -> object:
    from energydiag.pipeline import inspect_batch

    return inspect_batch(_named(folder))


def _read_run(folder: Path) -> object:
    from energydiag.runs import Told, limits_of, read_run

    return limits_of(read_run(folder), Told())


def _use_run(folder: Path) -> object:
    from energydiag.pipeline import inspect_run

    return inspect_run(folder)


def _read_result(folder: Path) -> object:
    from energydiag.cli.report import _read

    return _read(folder / "file")


def _use_result(folder: Path) -> object:
    from energydiag.cli.report import _read

    return _rendered(_read(folder / "file"))


def _dump(form: str) -> Folder:
    import safetensors.torch
    import torch

    dump = {"hidden": torch.ones(6, 3, 4), "actions": torch.ones(6, 2, 3), "episode": torch.arange(6)}
    if form == "safetensors":
        return {"file": safetensors.torch.save(dump)}
    stream = io.BytesIO()
    torch.save(dump, stream, _use_new_zipfile_serialization=form == "zip")
    return {"file": stream.getvalue()}


def _results() -> list[Folder]:
    from hostile.results import fleet_text, repair_text
    from hostile.truncated import result_text

    return [{"file": text.encode()} for text in (result_text(), fleet_text(), repair_text())]


# What energydiag reads of its own, or finds in the folder where it stands


def _config() -> list[Folder]:
    of_models = """[tool.energydiag]
head = "original"
nhead = 2
tau = 0.5
sign = -1
pool = "features"
mask = "passed"
weights = "auto"
energies-of = "auto"
candidates = true
device = "cpu"
dtype = "float32"
limit = 32
seed = 3
swap-size = 8
steps = 5
learning-rate = 1e-3
"""
    of_logs = """[tool.energydiag]
batch-size = 64
negatives = 63
map = ["loss=loss"]
ignore = ["ED1"]
select = ["ED1", "ED2"]
fail-on = "warning"
metric = ["loss"]
max-regression = ["loss=5%"]
at = "last"
details = true
quiet = true
"""
    return [
        *({"pyproject.toml": text.encode()} for text in ("[tool.energydiag]", of_models, of_logs)),
        {"pyproject.toml": b"tool.energydiag = {tau = 0.5, format = 'json'}"},
    ]


def _read_config(folder: Path) -> object:
    from energydiag.cli.config import allowed, read_defaults

    file = folder / "pyproject.toml"
    return allowed(read_defaults(file), file)


def _use_config(folder: Path) -> object:
    """Commands that stand in its folder; the first two end when they find no file, after all options were taken."""
    return [
        _called(folder, "inspect", "checkpoint", "none.pt", "--batch", "none.pt"),
        _called(folder, "fix-and-retrain", "none.pt", "--batch", "none.pt", "--out", "none"),
        _called(folder, "inspect", "run", str(_measured() / "run1")),
        _called(folder, "compare", "runs", str(_measured() / "run1"), str(_measured() / "run2")),
    ]


def _called(folder: Path, *words: str) -> int:
    from typer.testing import CliRunner

    from energydiag.cli.app import app

    with contextlib.chdir(folder):
        ended = CliRunner().invoke(app, words)
    if ended.exception is not None and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    return ended.exit_code


@functools.cache
def _measured() -> Path:
    """A checkpoint, a dump, the answer that was kept of them, and two logs; there until the process ends."""
    import torch
    from parts import make_batch, make_head

    folder = Path(tempfile.mkdtemp(prefix="fuzz-measured-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    torch.save(make_batch(4).present(), folder / "dump.pt")
    torch.save(make_head("original").state_dict(), folder / "step_1.pt")
    _swept(folder, folder / "kept", merge=False)
    for number in (1, 2):
        (folder / f"run{number}").mkdir()
        rows = "".join(f"{step},{4 - 0.01 * step * number},{0.5 + 0.001 * step}\n" for step in range(0, 200, 5))
        (folder / f"run{number}" / "metrics.csv").write_text(f"step,loss,auroc\n{rows}")
    return folder


def _swept(folder: Path, kept: Path, *, merge: bool) -> Any:
    from energydiag.pipeline import ModelOptions, inspect_many

    model = ModelOptions(head="original", nhead=2)
    return inspect_many([folder / "step_1.pt"], folder / "dump.pt", model, workers=0, out=kept, merge=merge, tau=0.5)


def _kept() -> list[Folder]:
    (path,) = (_measured() / "kept").iterdir()
    whole = json.loads(path.read_text())
    failed = {**whole, "answer": {"step": 1, "diagnosis": None, "error": "no", "next_step": "a"}}
    return [{path.name: json.dumps(one).encode()} for one in (whole, failed)]


def _read_kept(folder: Path) -> object:
    from energydiag.fleet import Store

    job = dataclasses.replace(_job(), store=Store(folder))
    kept, missing = job.kept(lambda _step: None, errors_too=True)
    assert len(kept.rows) + len(missing) == 1
    return kept


@functools.cache
def _job() -> Any:
    """What a sweep asks a folder of answers for, once the dump is read."""
    from energydiag.batches import read_batch
    from energydiag.pipeline import ModelOptions, inspecting_many

    made = _measured()
    return inspecting_many._Job(
        listed=(made / "step_1.pt",),
        dump=str(made / "dump.pt"),
        model=ModelOptions(head="original", nhead=2),
        options={"tau": 0.5},
        command=(),
        batch_hash=read_batch(made / "dump.pt").check().sha256(),
        store=None,
        shard=None,
    )


def _use_kept(folder: Path) -> object:
    return _rendered(_swept(_measured(), folder, merge=True))


def _rendered(found: Any) -> list[str]:
    from energydiag.reports import reports
    from energydiag.reports.report import Look

    json.dumps(found.to_dict(), allow_nan=False)
    return [report.render(found, Look(80, details=True)) for report in reports().values()]


def _baselines() -> list[Folder]:
    folder = _measured()
    words = ("--batch", "dump.pt", "--head", "original", "--nhead", "2", "--tau", "0.5")
    _called(folder, "compare", "runs", "run1", "run2", "--save-baseline", "runs.json")
    _called(folder, "compare", "checkpoints", "step_1.pt", "step_1.pt", *words, "--save-baseline", "checkpoints.json")
    return [{"file": (folder / name).read_bytes()} for name in ("runs.json", "checkpoints.json")]


def _read_baseline(folder: Path) -> object:
    from energydiag.errors import EnergydiagError
    from energydiag.pipeline.baselines import read_baseline

    with contextlib.suppress(EnergydiagError):
        return read_baseline(folder / "file", "runs")
    return read_baseline(folder / "file", "checkpoints")


def _use_baseline(folder: Path) -> object:
    from energydiag.errors import EnergydiagError
    from energydiag.pipeline import ModelOptions, compare_checkpoints, compare_runs

    made = _measured()
    with contextlib.suppress(EnergydiagError):
        return _rendered(compare_runs([made / "run2"], baseline=folder / "file"))
    model = ModelOptions(head="original", nhead=2)
    return _rendered(
        compare_checkpoints([made / "step_1.pt"], made / "dump.pt", [model], baseline=folder / "file", tau=0.5)
    )


def _states() -> list[Folder]:
    from test_limits import saved

    from energydiag.training.state import STATE_FILE

    with tempfile.TemporaryDirectory() as name:
        saved(Path(name))
        return [{STATE_FILE: Path(name, STATE_FILE).read_bytes()}]


def _read_state(folder: Path) -> object:
    from test_limits import WHO, parts

    from energydiag.training.log import write_metrics
    from energydiag.training.state import fill, load_state

    found = load_state(folder, WHO)
    if found is not None:
        fill(folder, found, *parts())
        write_metrics(_measured() / "metrics.csv", found[0].rows)
    return found


TARGETS: dict[str, Target] = {
    "torch-zip": Target(_read_checkpoint, lambda: [*[_small("zip")] * 4, *_kinds("zip")], _use_checkpoint),
    "torch-legacy": Target(_read_checkpoint, lambda: [*[_small("legacy")] * 4, *_kinds("legacy")], _use_checkpoint),
    "safetensors": Target(
        _read_checkpoint, lambda: [*[_small("safetensors")] * 4, *_kinds("safetensors")], _use_checkpoint
    ),
    "npz": Target(_read_batch, lambda: _kinds("npz", "compressed-npz"), _use_batch),
    "batch": Target(_read_batch, lambda: [*map(_dump, ("zip", "legacy", "safetensors")), *_kinds("npz")], _use_batch),
    "sharded": Target(_read_checkpoint, _sharded, _use_checkpoint),
    "distributed": Target(_read_checkpoint, _distributed, _use_checkpoint),
    "shards": Target(_read_batch, _shards, _use_batch),
    "run": Target(_read_run, _logs, _use_run),
    "run-events": Target(_read_run, _recorded("*/**/*tfevents*"), _use_run),
    "run-trainer": Target(_read_run, _recorded("trainer/*"), _use_run),
    "run-database": Target(_read_run, _databases, _use_run),
    "result": Target(_read_result, _results, _use_result),
    "config": Target(_read_config, _config, _use_config),
    "kept": Target(_read_kept, _kept, _use_kept),
    "baseline": Target(_read_baseline, _baselines, _use_baseline),
    "state": Target(_read_state, _states),
}
