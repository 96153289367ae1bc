"""Breaks files until a reader breaks: mutations that reach new lines of a reader are mutated again.

    python benchmarks/fuzz.py checkpoint --inputs 100000
    python benchmarks/fuzz.py all --inputs 2000 --out fuzz/

In one process, guided by the lines of energydiag's own files that an input reaches. Only an `EnergydiagError` may come
out of a reader, and within ``--seconds``; anything else is written to ``--out`` with its traceback beside it.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import faulthandler
import hashlib
import io
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

_OURS = str(ROOT / "energydiag") + os.sep
_LARGEST = 1 << 16
"""Bytes of an input."""

Folder = dict[str, bytes]
"""The files of one input, by name; a reader of single files gets one called ``file``."""


@dataclass(frozen=True)
class Target:
    """Something that reads.

    Attributes:
        read: Given the folder of an input.
        seeds: Whole inputs to begin with.
    """

    read: Callable[[Path], object]
    seeds: Callable[[], list[Folder]]


# --- readers and what they read


def _kinds(*names: str) -> list[Folder]:
    from hostile.truncated import whole

    return [{"file": whole(name)} for name in names]


def _files() -> list[Folder]:
    return _kinds("zip", "legacy", "safetensors", "npz", "compressed-npz")


def _sharded() -> list[Folder]:
    return [_folder_of("folders:shard_of_other_keys"), _folder_of("folders:safetensors_shard_missing")]


def _folder_of(name: str) -> Folder:
    from hostile import payloads

    payload = next(one for one in payloads() if one.name == name)
    with tempfile.TemporaryDirectory() as place:
        made = payload.make(Path(place))
        return {path.name: path.read_bytes() for path in made.iterdir()}


def _distributed() -> list[Folder]:
    from hostile.truncated import distributed_checkpoint

    return [distributed_checkpoint()]


def _shards() -> list[Folder]:
    from hostile.truncated import whole

    index = b'{"format": "energydiag-shards", "version": 1, "shards": [{"file": "a.npz", "samples": 6}]}'
    return [{"index.json": index, "a.npz": whole("npz")}]


def _logs() -> list[Folder]:
    table = b"step,loss,grad_norm\n" + b"".join(b"%d,%.4f,0.5\n" % (n, 2 / (n + 1)) for n in range(40))
    lines = b"".join(b'{"step": %d, "train": {"loss": %.4f}}\n' % (n, 2 / (n + 1)) for n in range(40))
    config = b'{"batch_size": 64, "head": "original", "surgery": ["head=linear"], "tau": 0.5}'
    return [{"metrics.csv": table, "config.json": config}, {"metrics.jsonl": lines}]


def _read_checkpoint(folder: Path) -> object:
    from energydiag.pipeline import load_checkpoint

    return load_checkpoint(folder / "file" if (folder / "file").exists() else folder, head="linear", nhead=2)


def _read_batch(folder: Path) -> object:
    from energydiag.batches import load_batch

    return load_batch(folder / "file" if (folder / "file").exists() else folder)


def _read_run(folder: Path) -> object:
    from energydiag.pipeline.inspecting_run import inspect_run

    return inspect_run(folder)


def _read_result(folder: Path) -> object:
    from energydiag.cli.report import _read
    from energydiag.reports import reports
    from energydiag.reports.report import Look

    found = _read(folder / "file")
    return [report.render(found, Look()) for report in reports().values()]


TARGETS: dict[str, Target] = {
    "torch-zip": Target(_read_checkpoint, lambda: _kinds("zip")),
    "torch-legacy": Target(_read_checkpoint, lambda: _kinds("legacy")),
    "safetensors": Target(_read_checkpoint, lambda: _kinds("safetensors")),
    "npz": Target(_read_batch, lambda: _kinds("npz", "compressed-npz")),
    "batch": Target(_read_batch, _files),
    "sharded": Target(_read_checkpoint, _sharded),
    "distributed": Target(_read_checkpoint, _distributed),
    "shards": Target(_read_batch, _shards),
    "run": Target(_read_run, _logs),
    "result": Target(_read_result, lambda: _kinds("result")),
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
    digits = [place for place, byte in enumerate(data) if 48 <= byte <= 57]
    if digits:
        place = end = dice.choice(digits)
        while end < len(data) and 48 <= data[end] <= 57:
            end += 1
        data[place:end] = dice.choice((b"-1", b"0", b"1e999", b"9" * 30, b"NaN", b"1.5", b"null", b"[]", b'"a"', b"{}"))


def worded(data: bytearray, _other: bytes, dice: random.Random) -> None:
    words = (
        b"null",
        b'"\\ud800"',
        b"../x",
        b"\x1b[2J",
        b"\0",
        b"\n",
        b'"',
        b",",
        b"{",
        b"}",
        b"[",
        b"]",
        b"cos\nsystem\n",
        b"R",
        b"b",
        b"Q",
    )
    place = dice.randrange(len(data))
    data[place : place + dice.choice((0, 1, 4))] = dice.choice(words)


def inside_of_a_zip(data: bytearray, other: bytes, dice: random.Random) -> None:
    """An entry changed, and its checksum with it."""
    entries: dict[str, bytes] = {}
    with contextlib.suppress(Exception), zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()[:50]}
    if not entries:
        return
    name = dice.choice(sorted(entries))
    content = bytearray(entries[name])
    for _ in range(dice.choice((1, 1, 3))):
        if content:
            dice.choice(PLAIN)(content, other, dice)
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w") as archive:
        warnings.simplefilter("ignore")
        for entry, old in entries.items():
            archive.writestr(entry, bytes(content) if entry == name else old)
    data[:] = stream.getvalue()


PLAIN = (flipped, overwritten, cut_off, cut_out, repeated, spliced, length_lied, number_lied, worded)
MUTATIONS = (*PLAIN, inside_of_a_zip, inside_of_a_zip, inside_of_a_zip)


def mutated(parent: Folder, other: Folder, dice: random.Random) -> Folder:
    """One file of an input changed, in one to four ways."""
    name = dice.choice(sorted(parent))
    data = bytearray(parent[name])
    for _ in range(dice.choice((1, 1, 2, 4))):
        if not data:
            break
        dice.choice(MUTATIONS)(data, dice.choice(sorted(other.values())), dice)
    return {**parent, name: bytes(data[:_LARGEST])}


# --- what an input reaches


class Lines:
    """The lines of energydiag that were ever run; each new one is told once."""

    def __init__(self) -> None:
        self.new = 0
        self._old: set[tuple[CodeType, int]] = set()

    def start(self) -> None:
        """Watches from now on, cheaply where Python can (3.12 and later)."""
        if hasattr(sys, "monitoring"):
            tool = sys.monitoring
            tool.use_tool_id(tool.COVERAGE_ID, "fuzz")
            tool.register_callback(tool.COVERAGE_ID, tool.events.LINE, self._line)
            tool.set_events(tool.COVERAGE_ID, tool.events.LINE)
        else:
            sys.settrace(self._trace)

    def stop(self) -> None:
        """Watches no longer."""
        if hasattr(sys, "monitoring"):
            sys.monitoring.set_events(sys.monitoring.COVERAGE_ID, 0)
            sys.monitoring.free_tool_id(sys.monitoring.COVERAGE_ID)
        else:
            sys.settrace(None)

    def _line(self, code: CodeType, line: int) -> object:
        if code.co_filename.startswith(_OURS):
            self._seen(code, line)
        return sys.monitoring.DISABLE  # type: ignore[attr-defined]

    def _trace(self, frame: FrameType, event: str, _: object) -> object:
        if not frame.f_code.co_filename.startswith(_OURS):
            return None
        if event == "line":
            self._seen(frame.f_code, frame.f_lineno)
        return self._trace

    def _seen(self, code: CodeType, line: int) -> None:
        if (code, line) not in self._old:
            self._old.add((code, line))
            self.new += 1


class Hung(BaseException):
    """An input took too long."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupts Python code; what hangs inside of a library is ended by the alarm behind it."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise Hung

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@dataclass
class Report:
    """What came out."""

    inputs: int = 0
    corpus: int = 0
    outcomes: collections.Counter[str] = field(default_factory=collections.Counter)
    broken: dict[str, Path] = field(default_factory=dict)


def _place(folder: Path, files: Folder) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _outcome(target: Target, folder: Path, seconds: float) -> tuple[str, str]:
    """How reading ended, in few words, and the traceback where it should not have ended so."""
    from energydiag.errors import EnergydiagError

    try:
        with time_limit(seconds), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.read(folder)
    except EnergydiagError as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}", ""
    except Hung:
        return "HANG", traceback.format_exc()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"BROKEN {type(error).__name__} at {Path(last.filename).name}:{last.lineno}", traceback.format_exc()
    return "read", ""


def fuzz(target: Target, inputs: int, out: Path, seed: int = 0, seconds: float = 10.0, minutes: float = 1e9) -> Report:
    """Mutates and reads.

    Args:
        target: What reads.
        inputs: How many times.
        out: Folder for inputs that broke it, one for every way in which it broke.
        seed: Of the mutations.
        seconds: That one input may take.
        minutes: After which it ends with what was done.
    """
    end = time.monotonic() + 60 * minutes
    dice, report, lines = random.Random(seed), Report(), Lines()
    corpus = target.seeds()
    seeds, here = len(corpus), out / "current"  # it stays where a library hangs or crashes
    for files in corpus:  # what is imported at first use takes its time, and must not be interrupted
        _place(here, files)
        _outcome(target, here, 600)
    lines.start()
    for number in range(inputs):
        if time.monotonic() > end:
            break
        files = corpus[number] if number < seeds else mutated(_parent(corpus, dice), dice.choice(corpus), dice)
        _place(here, files)
        before = lines.new
        faulthandler.dump_traceback_later(6 * seconds, exit=True)
        outcome, trace = _outcome(target, here, seconds)
        report.inputs += 1
        report.outcomes[outcome] += 1
        if lines.new > before and number >= seeds:
            corpus.append(files)
        if trace and outcome not in report.broken:
            name = hashlib.sha256(outcome.encode()).hexdigest()[:12]
            _place(out / name, files)
            (out / f"{name}.txt").write_text(f"{outcome}\n{trace}")
            report.broken[outcome] = out / name
    faulthandler.cancel_dump_traceback_later()
    lines.stop()
    shutil.rmtree(here, ignore_errors=True)
    report.corpus = len(corpus)
    return report


def _parent(corpus: list[Folder], dice: random.Random) -> Folder:
    """The younger an input, the more often it is mutated."""
    return corpus[max(dice.randrange(len(corpus)), dice.randrange(len(corpus)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("reader", choices=[*TARGETS, "all"])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=10.0, help="that one input may take")
    parser.add_argument("--minutes", type=float, default=1e9, help="for each reader")
    parser.add_argument("--out", type=Path, default=Path("fuzz-found"), help="folder for inputs that break a reader")
    chosen = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    failed = False
    for name in TARGETS if chosen.reader == "all" else [chosen.reader]:
        start = time.monotonic()
        report = fuzz(TARGETS[name], chosen.inputs, chosen.out / name, chosen.seed, chosen.seconds, chosen.minutes)
        rate = report.inputs / (time.monotonic() - start)
        print(f"{name}: {report.inputs} inputs, {rate:.0f} a second, {report.corpus} kept")
        for outcome, count in report.outcomes.most_common():
            print(f"  {count:7}  {outcome}")
        for outcome, place in report.broken.items():
            failed = True
            print(f"  {outcome}: {place}, {place}.txt")
    sys.exit(failed)


if __name__ == "__main__":
    main()
