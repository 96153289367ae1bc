"""Energies of many candidates beside what somebody writes by hand, and beside the rate of the products alone.

These differ by a few percent, so that they take more turns than others do, and without anyone between them who takes
gigabytes.
"""

from __future__ import annotations

import time

import torch

from .arithmetic import context_share, factorised_flops, matmul_way
from .energies import SIZES
from .figure import Row, at_least
from .policy import TINY, Size, hand_factorised, largest_difference, make_case, ours
from .side_by_side import Way, take_turns

_SECONDS, _MOST = 15.0, 31
"""Of all turns at a size, about, and how many they may be."""

_SAME = 1e-5


def measure(repeats: int, small: bool = False) -> list[Row]:
    with torch.no_grad():
        return [row for size in ((TINY,) if small else SIZES) for row in _rows(size, repeats, small)]


def _rows(size: Size, repeats: int, small: bool) -> list[Row]:
    case = make_case(size)
    products, product_flops = matmul_way(size)
    ways: dict[str, Way] = {"ours": lambda: ours(case), "hand": lambda: hand_factorised(case), "products": products}
    difference = largest_difference(ours(case), hand_factorised(case))
    if not difference < _SAME:
        raise AssertionError(f"two ways differ by {difference:.1e}")
    start = time.perf_counter()
    for way in ways.values():
        way()
    turns_in_time = int(_SECONDS / (time.perf_counter() - start))
    turns = take_turns(ways, repeats if small else max(repeats, min(turns_in_time, _MOST)))
    mine, work = turns.median("ours"), factorised_flops(size)
    return [
        Row(
            "written by hand / ours",
            str(size),
            mine,
            turns.median("hand"),
            turns.ratio("hand", "ours"),
            "s",
            at_least(0.95),
            f"{len(turns.seconds['ours'])} turns",
        ),
        Row(
            "ours / rate of the layers' products alone",
            str(size),
            work / mine / 1e9,
            product_flops / turns.median("products") / 1e9,
            turns.ratio("products", "ours") * work / product_flops,
            "GFLOP/s",
            at_least(0.8) if context_share(size) > 0.5 else None,
            f"{work / 1e9:.1f} GFLOP, {context_share(size):.0%} in contexts",
        ),
    ]
