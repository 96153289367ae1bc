"""Breaks files until a reader breaks: mutations that reach something new in a reader are mutated again.

    python benchmarks/fuzz.py torch-zip --inputs 100000
    python benchmarks/fuzz.py all --inputs 2000 --out fuzz/

Guided by how often an input runs each statement of energydiag: the package is imported with a counter before every
one, which costs a tenth of what Python's tracing does. Every reader has a process of its own, so that a crash ends no
other's. Only an `EnergydiagError` may come out, within ``--seconds`` and a gigabyte of memory; anything else is written
to ``--out`` with its traceback beside it.
"""

from __future__ import annotations

import argparse
import array
import ast
import collections
import contextlib
import faulthandler
import gc
import hashlib
import importlib.abc
import importlib.machinery
import io
import json
import os
import pickletools
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import types
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

_LARGEST = 1 << 14
"""Bytes of an input's file; those to begin with have a few thousand."""

_MOST_MEMORY = 1 << 30
"""Bytes by which the process may grow while it reads one input."""

_MOST_ADDRESSES = 8 << 30
"""Bytes that it may ask for beyond its own: not even a broken reader takes the whole machine."""

_SELDOM = 50
"""One of so many inputs is not only read but used, which takes much longer; so is every one that is new."""

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


# --- what an input reaches


_COUNTERS = 1 << 17
_LEVELS = 7


class Reach(importlib.abc.MetaPathFinder):
    """How often each statement of energydiag ran, by powers of two: once, two or three times, … 32 times and more.

    As a finder of modules it puts a counter in front of every statement, and into every lambda.
    """

    def __init__(self) -> None:
        import numpy

        self._counts = array.array("Q", bytes(8 * _COUNTERS))
        self._used = 0
        self._numbers = numpy.frombuffer(self._counts, numpy.uint64)
        self._known = numpy.zeros(_COUNTERS, numpy.uint8)
        self._numpy = numpy

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] != "energydiag":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Counting(spec.loader.name, spec.loader.path, self)
        return spec

    def counter(self) -> int:
        """The number of another counter."""
        self._used += 1
        return self._used - 1

    @property
    def counts(self) -> array.array[int]:
        """What the counters are called in the modules."""
        return self._counts

    def forget(self) -> None:
        """Another input begins."""
        self._numbers[: self._used] = 0

    def is_new(self) -> bool:
        """Whether the input reached something, or as often, as none before."""
        level = self._numpy.minimum(self._numpy.frexp(self._numbers[: self._used])[1], _LEVELS)
        bits = (1 << level).astype(self._numpy.uint8) & 0xFE  # the lowest: did not run
        known = self._known[: self._used]
        fresh = bool((bits & ~known).any())
        known |= bits
        return fresh

    def statements(self) -> int:
        """How many were ever run."""
        return int((self._known != 0).sum())


class _Counting(importlib.machinery.SourceFileLoader):
    """Loads a module with counters in it."""

    def __init__(self, name: str, path: str, reach: Reach) -> None:
        super().__init__(name, path)
        self._reach = reach

    def get_code(self, fullname: str) -> types.CodeType:
        path = self.get_filename(fullname)
        tree = _Counters(self._reach).visit(ast.parse(self.get_data(path), path))
        code: types.CodeType = compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)
        return code

    def exec_module(self, module: types.ModuleType) -> None:
        vars(module)["__counts__"] = self._reach.counts
        super().exec_module(module)


class _Counters(ast.NodeTransformer):
    """Puts ``__counts__[n] += 1`` before statements."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list):
                setattr(node, name, [each for statement in block for each in self._counted(statement)])
        return node

    def _counted(self, statement: ast.stmt) -> list[ast.stmt]:
        passive = (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal, ast.Pass)
        if isinstance(statement, passive) or _is_text(statement):
            return [statement]
        counter = ast.parse(f"__counts__[{self._reach.counter()}] += 1").body[0]
        return [_at(counter, statement), statement]

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        super().generic_visit(node)
        number = self._reach.counter()
        counter = ast.parse(f"__counts__.__setitem__({number}, __counts__[{number}] + 1)", mode="eval").body
        node.body = ast.BoolOp(ast.Or(), [_at(counter, node.body), node.body])  # it gives None
        return ast.copy_location(node, node)


def _at(node: Any, place: ast.AST) -> Any:
    for each in ast.walk(node):
        ast.copy_location(each, place)
    return node


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


# --- readers and what they read


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
        return [{path.name: path.read_bytes()} for path in files if path.is_file() and path.stat().st_size < _LARGEST]

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
    from energydiag.reports import reports
    from energydiag.reports.report import Look

    found = _read(folder / "file")
    return [report.render(found, Look()) for report in reports().values()]


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
}


# --- mutations


def flipped(data: bytearray, _other: bytes, dice: random.Random) -> None:
    for _ in range(dice.choice((1, 1, 2, 8))):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def overwritten(data: bytearray, _other: bytes, dice: random.Random) -> None:
    data[dice.randrange(len(data))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))


def cut_off(data: bytearray, _other: bytes, dice: random.Random) -> None:
    del data[dice.randrange(len(data)) :]


def cut_out(data: bytearray, _other: bytes, dice: random.Random) -> None:
    start = dice.randrange(len(data))
    del data[start : start + dice.choice((1, 2, 4, 8, 64))]


def repeated(data: bytearray, _other: bytes, dice: random.Random) -> None:
    start = dice.randrange(len(data))
    data[start:start] = data[start : start + dice.choice((1, 4, 16, 128))] * dice.choice((1, 2, 20))


def spliced(data: bytearray, other: bytes, dice: random.Random) -> None:
    start, place = dice.randrange(len(other) or 1), dice.randrange(len(data))
    data[place : place + dice.choice((0, 4, 32))] = other[start : start + dice.choice((4, 32, 256))]


def length_lied(data: bytearray, _other: bytes, dice: random.Random) -> None:
    size = dice.choice((2, 4, 8))
    place = dice.randrange(len(data))
    value = dice.choice((0, 1, 2 ** (8 * size) - 1, 2 ** (8 * size - 1), 1 << 20, len(data), len(data) + 1))
    data[place : place + size] = (value % 2 ** (8 * size)).to_bytes(size, "little")


def number_lied(data: bytearray, _other: bytes, dice: random.Random) -> None:
    """A run of digits becomes another number."""
    numbers = [found.span() for found in re.finditer(rb"[0-9]+", data)]
    if numbers:
        start, end = dice.choice(numbers)
        data[start:end] = dice.choice((b"-1", b"0", b"1e999", b"9" * 30, b"NaN", b"1.5", b"null", b"[]", b'"a"', b"{}"))


_WORDS = (
    *(b"null", b'"\\ud800"', b"../x", b"\x1b[2J", b"\0", b"\n", b'"', b",", b"{", b"}", b"[", b"]", b";", b"\t", b":"),
    *(b"cos\nsystem\n", b"R", b"b", b"Q", b"\x81", b"\x93", b"\x94", b"2", b"0", b"1", b"(", b"t", b"u", b"e", b"s"),
    *(b")", b"}", b"]", b"\x8f", b"N", b"\x85", b"h\0", b"q\0", b"a", b"\x88", b"F1\n", b"G\x7f\xf0\0\0\0\0\0\0"),
    *(b"\x86", b"\x87", b"K\0", b"J\0\0\0\x40", b"]J\0\0\0\x40a", b"h\1", b"h\2", b"U\6latin1", b")R", b"\x85R", b"]R"),
    *(b"c" + name.replace(b".", b"\n") + b"\n" for name in (b"torch.Size", b"torch.float16", b"torch.FloatTensor")),
    *(b"cbuiltins\n" + name + b"\n" for name in (b"bytearray", b"set", b"complex")),
    *(b"ccollections\n" + name + b"\n" for name in (b"OrderedDict", b"Counter")),
    *(b"ctorch._utils\n_rebuild_" + name + b"\n" for name in (b"parameter", b"sparse_tensor", b"qtensor", b"tensor")),
    *(b"ctorch._utils\n_rebuild_device_tensor_from_cpu_tensor\n", b"ctorch._tensor\n_rebuild_from_type_v2\n"),
    *(b"c_codecs\nencode\n", b"ctorch.serialization\n_get_layout\n", b"ctorch\ndevice\n"),
)
"""Of JSON, CSV and pickles; the names are those that torch allows a pickle to call."""


def worded(data: bytearray, _other: bytes, dice: random.Random) -> None:
    place = dice.randrange(len(data))
    data[place : place + dice.choice((0, 1, 4))] = dice.choice(_WORDS)


def inside_of_a_pickle(data: bytearray, _other: bytes, dice: random.Random) -> None:
    """An opcode, with its argument, is left out, doubled, moved or replaced by another one."""
    pickles = [found.start() for found in re.finditer(rb"\x80[\x02-\x05]", data)]
    if not pickles:
        return
    places: list[int] = []
    with contextlib.suppress(Exception):
        for _, _, place in pickletools.genops(bytes(data[dice.choice(pickles) :])):
            places.append(place or 0)  # what was found before it breaks is wanted
    if len(places) < 2:
        return
    number, other = dice.randrange(len(places) - 1), dice.randrange(len(places) - 1)
    one = data[places[number] : places[number + 1]]
    data[places[other] : places[other + dice.randrange(2)]] = dice.choice((b"", one, one * 2, dice.choice(_WORDS)))


_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**63, 10**400, 1e308, 0.5, float("nan"), float("inf"), "", "a", "\ud800", "\x1b[2J"),
    *([], {}, [[]], [None], ["a"], {"a": 1}, "9" * 400, "../x", [1, 2], [0.4, 0.6]),
)


def inside_of_json(data: bytearray, other: bytes, dice: random.Random) -> None:
    """A value somewhere inside replaced, left out, or put somewhere else."""
    try:
        whole = [json.loads(data)]
        theirs = json.loads(other) if dice.randrange(4) == 0 else dice.choice(_VALUES)
    except (ValueError, RecursionError):
        return
    places = list(_places(whole))
    place, key = dice.choice(places)
    there, at = dice.choice(places)
    what = dice.randrange(4)
    if what == 0 and place is not whole:
        del place[key]
    elif what == 1:
        place[key] = json.loads(json.dumps(there[at]))
    elif what == 2 and isinstance(place, dict):
        place[dice.choice(("", "a", "kind", "\x1b[2J", "\ud800"))] = place.pop(key)
    else:
        place[key] = theirs
    data[:] = json.dumps(whole[0]).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container and key in nested ones."""
    todo = [value]
    while todo:
        one = todo.pop()
        for key, inner in one.items() if isinstance(one, dict) else enumerate(one):
            yield one, key
            if isinstance(inner, dict | list):
                todo.append(inner)


def inside_of_a_line(data: bytearray, other: bytes, dice: random.Random) -> None:
    """One line of several is changed as JSON."""
    lines = data.split(b"\n")
    number = dice.randrange(len(lines))
    inside_of_json(lines[number], dice.choice(other.split(b"\n")), dice)
    data[:] = b"\n".join(lines)


def inside_of_a_header(data: bytearray, other: bytes, dice: random.Random) -> None:
    """The JSON of a safetensors file is changed, and its length with it."""
    size = int.from_bytes(data[:8], "little")
    if data[8:9] == b"{" and size <= len(data):
        header = data[8 : 8 + size]
        inside_of_json(header, other[8 : 8 + int.from_bytes(other[:8], "little")], dice)
        data[: 8 + size] = len(header).to_bytes(8, "little") + header


def inside_of_a_zip(data: bytearray, other: bytes, dice: random.Random) -> None:
    """An entry changed, and its checksum with it."""
    entries: dict[str, bytes] = {}
    with contextlib.suppress(Exception), zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()[:50]}
    if not entries:
        return
    name = dice.choice([*entries, *(name for name in entries if name.endswith(".pkl"))])
    content = bytearray(entries[name])
    for _ in range(dice.choice((1, 1, 3))):
        if content:
            dice.choice(PLAIN)(content, other, dice)
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w") as archive:
        warnings.simplefilter("ignore")
        for entry, old in entries.items():
            archive.writestr(zipfile.ZipInfo(entry), bytes(content) if entry == name else old)
    data[:] = stream.getvalue()


Mutation = Callable[[bytearray, bytes, random.Random], None]

PLAIN: tuple[Mutation, ...] = (
    *(flipped, overwritten, cut_off, cut_out, repeated, spliced, length_lied, number_lied, worded),
    *(inside_of_a_pickle,) * 4,
)


def fitting(data: bytes) -> tuple[Mutation, ...]:
    """The mutations for a file that begins like this; those that know the format come half of the time or more."""
    if data[:2] == b"PK":
        return (*PLAIN, *(inside_of_a_zip,) * 2 * len(PLAIN))  # elsewhere a checksum tells
    if data[:1] == b"\x80":
        return PLAIN
    if data[8:9] == b"{":
        return (*PLAIN[:9], *(inside_of_a_header,) * 9)
    if data[:1] == b"{":
        return (*PLAIN[:9], *(inside_of_json if data.count(b"\n{") < 2 else inside_of_a_line,) * 9)
    return PLAIN[:9]


def mutated(parent: Folder, other: Folder, dice: random.Random) -> Folder:
    """One file of an input changed, in one to four ways."""
    name = dice.choice(sorted(parent))
    data = bytearray(parent[name])
    foreign = other.get(name) or dice.choice(sorted(other.values()))
    kinds = fitting(data)
    for _ in range(dice.choice((1, 1, 2, 4))):
        if not data:
            break
        dice.choice(kinds)(data, foreign, dice)
    return {**parent, name: bytes(data[:_LARGEST])}


# --- one input


class Hung(BaseException):
    """An input took too long."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupts Python code; what hangs inside of a library is ended by the alarm behind it."""

    def stop(_signal: int, _frame: types.FrameType | None) -> None:
        raise Hung

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


class Memory:
    """Watches that the process does not grow."""

    def __init__(self) -> None:
        addresses, resident = (int(word) * resource.getpagesize() for word in _statm()[:2])
        self._most = resident + _MOST_MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (addresses + _MOST_ADDRESSES, resource.RLIM_INFINITY))
        self._forget()

    def grown(self) -> str:
        """Says how large the process was, where that was too much; the next input begins anew."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        if peak <= self._most:
            return ""
        gc.collect()
        self._forget()
        return f"{peak >> 20} MiB"

    @staticmethod
    def _forget() -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak alone


def _statm() -> list[str]:
    return Path("/proc/self/statm").read_text().split()


class Place:
    """The folder that inputs are written into; what is there already is not written again."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.folder = folder
        self._there: Folder = {}

    def put(self, files: Folder) -> None:
        """The folder holds these files and no others."""
        for name in self._there.keys() - files.keys():
            (self.folder / name).unlink()
        for name, content in files.items():
            if self._there.get(name) != content:
                path = self.folder / name
                path.unlink(missing_ok=True)  # what is mapped into memory stays as it was
                path.write_bytes(content)
        self._there = files


def ending(read: Callable[[Path], object], folder: Path, seconds: float) -> tuple[str, str]:
    """How reading ended, in few words, and the traceback where it should not have ended so."""
    from energydiag.errors import EnergydiagError

    try:
        with time_limit(seconds), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(folder)
    except EnergydiagError as error:
        return f"{type(error).__name__} at {_where(error)}", ""
    except Hung:
        return "HANG", traceback.format_exc()
    except Exception as error:
        return f"BROKEN {type(error).__name__} at {_where(error)}", traceback.format_exc()
    return "read", ""


def _where(error: BaseException) -> str:
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    return "nowhere" if step is None else f"{Path(step.tb_frame.f_code.co_filename).name}:{step.tb_lineno}"


# --- all of them


@dataclass
class Report:
    """What came out."""

    inputs: int = 0
    corpus: int = 0
    slowest: float = 0.0
    outcomes: collections.Counter[str] = field(default_factory=collections.Counter)
    broken: dict[str, Path] = field(default_factory=dict)


def fuzz(
    target: Target,
    reach: Reach,
    inputs: int,
    out: Path,
    scratch: Path,
    seed: int = 0,
    seconds: float = 10.0,
    minutes: float = 1e9,
) -> Report:
    """Mutates and reads.

    Args:
        target: What reads.
        reach: What counts how often statements ran.
        inputs: How many times.
        out: Folder for inputs that broke it, one for every way in which it broke.
        scratch: Folder for the input that is being read.
        seed: Of the mutations.
        seconds: That one input may take.
        minutes: After which it ends with what was done.
    """
    began = told = time.monotonic()
    dice, report, corpus = random.Random(seed), Report(), target.seeds()
    seeds, place = len(corpus), Place(scratch)
    uses = [target.read] if target.use is None else [target.read, target.use]
    for files in corpus:  # what is imported at first use takes its time, and must not be interrupted
        place.put(files)
        for use in uses:
            ending(use, place.folder, 600)
    reach.is_new()
    memory = Memory()
    for number in range(inputs):
        now = time.monotonic()
        if now > began + 60 * minutes:
            break
        if now > told + 60 or not number:
            told = now
            print(
                f"  {number} inputs in {now - began:.0f} s, {len(corpus)} kept, {len(report.broken)} broken", flush=True
            )
            faulthandler.dump_traceback_later(60 + 6 * seconds, exit=True)  # what hangs inside of a library
        files = corpus[number] if number < seeds else mutated(_parent(corpus, seeds, dice), dice.choice(corpus), dice)
        place.put(files)
        reach.forget()
        start = time.monotonic()
        outcome, trace = ending(target.read, place.folder, seconds)
        new = reach.is_new()
        if target.use is not None and not trace and (new or number % _SELDOM == 0):
            used, trace = ending(target.use, place.folder, seconds)
            outcome, new = used if trace else outcome, reach.is_new() or new
        report.slowest = max(report.slowest, time.monotonic() - start)
        if grown := memory.grown():
            outcome, trace = "MEMORY", grown
        report.inputs += 1
        report.outcomes[outcome] += 1
        if new and number >= seeds:
            corpus.append(files)
        if trace and outcome not in report.broken:
            name = hashlib.sha256(outcome.encode()).hexdigest()[:12]
            Place(out / name).put(files)
            (out / f"{name}.txt").write_text(f"{outcome}\n{trace}")
            report.broken[outcome] = out / name
            print(f"  {outcome}: {out / name}, {name}.txt", flush=True)
    faulthandler.cancel_dump_traceback_later()
    report.corpus = len(corpus)
    return report


def _parent(corpus: list[Folder], seeds: int, dice: random.Random) -> Folder:
    """A whole input, or one that was kept: the younger it is, the more often."""
    if dice.randrange(3) == 0:
        return corpus[dice.randrange(seeds)]
    return corpus[max(dice.randrange(len(corpus)), dice.randrange(len(corpus)))]


def _one(name: str, chosen: argparse.Namespace) -> bool:
    """Whether a reader held."""
    reach = Reach()
    sys.meta_path.insert(0, reach)
    import torch

    torch.set_num_threads(1)
    fast = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # an input is written and read in memory
    with tempfile.TemporaryDirectory(dir=fast, prefix="fuzz-") as scratch:
        start = time.monotonic()
        report = fuzz(
            TARGETS[name],
            reach,
            chosen.inputs,
            chosen.out / name,
            Path(scratch) / "current",
            chosen.seed,
            chosen.seconds,
            chosen.minutes,
        )
    took = time.monotonic() - start
    print(
        f"{name}: {report.inputs} inputs in {took:.0f} s ({report.inputs / took:.0f} a second), {report.corpus} kept, "
        f"{reach.statements()} statements reached, slowest {report.slowest:.2f} s, {len(report.broken)} broken"
    )
    for outcome, count in report.outcomes.most_common():
        print(f"  {count:7}  {outcome}")
    return not report.broken


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("reader", choices=[*TARGETS, "all"])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=10.0, help="that one input may take")
    parser.add_argument("--minutes", type=float, default=1e9, help="for each reader")
    parser.add_argument("--out", type=Path, default=Path("fuzz-found"), help="folder for inputs that break a reader")
    chosen = parser.parse_args()
    if chosen.reader != "all":
        sys.exit(not _one(chosen.reader, chosen))
    failed = []
    for name in TARGETS:
        again = [name if word == "all" else word for word in sys.argv]
        failed += [name] if subprocess.run([sys.executable, *again], check=False).returncode else []
    sys.exit(f"broken: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
