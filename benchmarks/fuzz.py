"""Breaks files until a reader breaks: mutations that reach something new in a reader are mutated again.

    python -m benchmarks.fuzz torch-zip --inputs 100000
    python -m benchmarks.fuzz all --inputs 2000 --out fuzz/

Guided by how often an input runs each statement of energydiag: the package is imported with a counter before every
one, which costs a tenth of what Python's tracing does. Every reader has a process of its own, so that a crash ends no
other's. Only an `EnergydiagError` may come out, within ``--seconds`` and a gigabyte of memory; anything else is written
to ``--out`` with its traceback beside it.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import faulthandler
import gc
import hashlib
import os
import random
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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.fuzzing.mutations import mutated
from benchmarks.fuzzing.reach import Reach
from benchmarks.fuzzing.targets import ROOT, TARGETS, Folder, Target

_MOST_MEMORY = 1 << 30
"""Bytes by which the process may grow while it reads one input."""

_MOST_ADDRESSES = 8 << 30
"""Bytes that it may ask for beyond its own: not even a broken reader takes the whole machine."""

_SELDOM = 50
"""One of so many inputs is not only read but used, which takes much longer; so is every one that is new."""

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
    sys.path.insert(0, str(ROOT / "tests"))  # whose files are begun with
    if chosen.reader != "all":
        sys.exit(not _one(chosen.reader, chosen))
    failed = []
    for name in TARGETS:
        again = [name if word == "all" else word for word in sys.argv[1:]]
        failed += (
            [name] if subprocess.run([sys.executable, "-m", "benchmarks.fuzz", *again], check=False).returncode else []
        )
    sys.exit(f"broken: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
