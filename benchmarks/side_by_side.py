"""Time and memory, measured so that ratios can be trusted on a machine that others use too.

Ways to do the same thing take turns, so that a slow minute is everyone's; a ratio is the median over the turns of the
ratio within a turn.
"""

from __future__ import annotations

import gc
import math
import multiprocessing
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Answer = TypeVar("Answer")
Way = Callable[[], object]

MIB, GIB = 1 << 20, 1 << 30

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""What tells the libraries below torch how many threads to take."""

_SPARE = 0.8
"""Share of the free memory that something may be expected to need and still be run."""


@dataclass(frozen=True)
class Turns:
    """Seconds of every way in every turn."""

    seconds: Mapping[str, tuple[float, ...]]

    def __contains__(self, way: str) -> bool:
        return way in self.seconds

    def median(self, way: str) -> float:
        """NaN for a way that did not take part."""
        return statistics.median(self.seconds[way]) if way in self.seconds else math.nan

    def ratio(self, above: str, below: str) -> float:
        """Median over the turns of one way's seconds in units of another's; NaN where one did not take part."""
        if above not in self.seconds or below not in self.seconds:
            return math.nan
        pairs = zip(self.seconds[above], self.seconds[below], strict=True)
        return statistics.median(a / b for a, b in pairs)


def take_turns(ways: Mapping[str, Way], repeats: int, times: Mapping[str, float] | None = None) -> Turns:
    """Lets all ways run once unwatched, and then ``repeats`` times in turn, every turn in another order.

    Args:
        ways: By name.
        repeats: Turns.
        times: For a way that does a part of the work alone: how many such parts there are.

    Medians are told on stderr as they come: all of it takes long.
    """
    factors = times or {}
    for way in ways.values():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    order, shuffle = list(ways), random.Random(0).shuffle
    for _ in range(repeats):
        shuffle(order)  # whoever follows one that took gigabytes finds neither caches nor memory at hand
        for name in order:
            gc.collect()
            _wait_for_device()
            start = time.perf_counter()
            ways[name]()
            _wait_for_device()
            seconds[name].append((time.perf_counter() - start) * factors.get(name, 1.0))
    turns = Turns({name: tuple(spent) for name, spent in seconds.items()})
    print("  " + ", ".join(f"{name} {turns.median(name):.3g} s" for name in seconds), file=sys.stderr, flush=True)
    return turns


def _wait_for_device() -> None:
    """Kernels on a GPU run on after the call that started them."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def alone(function: Callable[..., Answer], *arguments: Any) -> Answer:
    """The function's answer from a fresh process: peaks of memory of one call must not hide those of another."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def resident_peak(work: Way) -> float:
    """Bytes by which the process grows at most while it works; NaN where the system does not tell (only Linux does)."""
    clear = Path("/proc/self/clear_refs")
    if not clear.exists():
        return math.nan
    gc.collect()
    clear.write_text("5")  # the peak begins anew
    before = _status("VmRSS")
    kept = work()
    grown = _status("VmHWM") - before
    del kept
    return float(max(grown, 0))


def _status(name: str) -> int:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) << 10


def available_bytes() -> float:
    """Memory that is free now."""
    info = Path("/proc/meminfo")
    if info.exists():
        lines = dict(line.split(":", 1) for line in info.read_text().splitlines())
        return float(int(lines["MemAvailable"].split()[0]) << 10)
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) / 2


def fits(needed: float, device: str = "cpu") -> bool:
    """Whether so many bytes can be taken without pushing anything else out."""
    if device == "cpu":
        return needed < _SPARE * available_bytes()
    return needed < _SPARE * float(sys.modules["torch"].cuda.mem_get_info(device)[0])


def does_not_fit(needed: float) -> str:
    return f"does not fit: {needed / GIB:.1f} GiB"
