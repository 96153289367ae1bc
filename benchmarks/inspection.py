"""A whole inspection: its time in units of a training step, its memory, and how both grow.

Shapes: N samples, B contexts in a swap set, S tokens, D context width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from energydiag import inspect

from .arithmetic import peak_bytes
from .figure import Row, at_most
from .policy import TINY, Case, Size, devices, make_case, place
from .side_by_side import GIB, MIB, Way, alone, resident_peak, take_turns
from .training_step import our_share, our_step, plain_step

SIZE = Size(32, 256, 4096)
"""Of a real policy; the dump has as many samples as a swap set."""

_BASE = Size(32, 64, 512, 256)
_SAMPLES = 64
"""What grows is a multiple of these, everything else stays."""

_GROWTH: dict[str, tuple[int, ...]] = {
    "B": (8, 16, 32, 64),
    "S": (32, 64, 128, 256),
    "D": (256, 512, 1024, 2048),
    "N": (32, 64, 128, 256),
}
_SMALL_GROWTH: dict[str, tuple[int, ...]] = {"S": (4, 8)}


def measure(repeats: int, small: bool = False) -> list[Row]:
    size = TINY if small else SIZE
    rows = [row for device in devices() for row in _in_steps(size, repeats, device)]
    rows += _memory(size, small)
    for axis, values in (_SMALL_GROWTH if small else _GROWTH).items():
        rows += _growth(axis, values, repeats, TINY if small else _BASE, 8 if small else _SAMPLES)
    return rows


def _inspection(case: Case) -> Way:
    batch, energy = case.batch(), case.energy
    return lambda: inspect(energy, batch, swap_size=case.size.contexts)


def _in_steps(size: Size, repeats: int, device: str) -> list[Row]:
    case = make_case(size, device=device)
    plain = plain_step(case)
    ways = {"inspect": _inspection(case), "plain": plain.run, "ours": our_step(case)}
    turns = take_turns(ways, repeats, {"plain": plain.times, "ours": our_share()})
    return [
        Row(
            f"{place(device)}inspection of {size.contexts} samples / {what}",
            str(size),
            turns.median("inspect"),
            turns.median(way),
            turns.ratio("inspect", way),
            "s",
            at_most(3) if way == "plain" and device == "cpu" else None,
            note,
        )
        for way, what, note in (
            ("plain", "plain training step with B² rows", plain.note),
            ("ours", "our training step", ""),
        )
    ]


def grown_by(size: Size) -> float:
    """Bytes by which this process grows at its peak beside the inputs; run in a fresh one."""
    _inspection(make_case(TINY))()  # code that is loaded does not count
    return resident_peak(_inspection(make_case(size)))


def _memory(size: Size, small: bool) -> list[Row]:
    case = make_case(size)
    held = case.weight_bytes + case.input_bytes
    tensors = peak_bytes(_inspection(case))
    del case
    rows = [
        Row(
            "inspection, peak of tensors / model and batch",
            str(size),
            tensors / MIB,
            held / MIB,
            tensors / held,
            "MiB",
        )
    ]
    if not small:
        grown = alone(grown_by, size)
        rows += [
            Row(
                "inspection, growth of a fresh process / model and batch",
                str(size),
                grown / MIB,
                held / MIB,
                grown / held,
                "MiB",
            ),
            Row(
                "inspection, growth of a fresh process above its inputs, in GiB",
                str(size),
                grown / GIB,
                1.0,
                grown / GIB,
                "GiB",
                at_most(1.5),
            ),
        ]
    return rows


def _at(axis: str, value: int, base: Size, samples: int) -> Case:
    changes = {"B": "contexts", "S": "tokens", "D": "width"}
    size = replace(base, **{changes[axis]: value}) if axis in changes else base
    return make_case(size, samples=value if axis == "N" else samples)


def _growth(axis: str, values: Sequence[int], repeats: int, base: Size, samples: int) -> list[Row]:
    cases = {value: _at(axis, value, base, samples) for value in values}
    ways: dict[str, Callable[[], object]] = {str(value): _inspection(case) for value, case in cases.items()}
    turns = take_turns(ways, repeats)
    seconds = [turns.median(str(value)) for value in values]
    bytes_of = [peak_bytes(_inspection(case)) for case in cases.values()]
    told = f"{axis} = {', '.join(map(str, values))}; beside it B, S, D = {base}, N = {samples}"
    return [
        Row(
            f"inspection, exponent of {what} in {axis}",
            f"{values[0]} … {values[-1]}",
            found[-1] / scale,
            found[0] / scale,
            exponent(values, found),
            unit,
            note=f"{told}; the largest and the smallest are shown",
            points=tuple((float(x), y / scale) for x, y in zip(values, found, strict=True)),
        )
        for what, found, scale, unit in (("time", seconds, 1.0, "s"), ("memory", bytes_of, float(MIB), "MiB"))
    ]


def exponent(xs: Sequence[float], ys: Sequence[float]) -> float:
    """The slope of the straight line through the logarithms, by least squares."""
    log_x = torch.tensor([math.log(x) for x in xs], dtype=torch.float64)
    log_y = torch.tensor([math.log(y) for y in ys], dtype=torch.float64)
    log_x = log_x - log_x.mean()
    return float((log_x * log_y).sum() / log_x.square().sum())
