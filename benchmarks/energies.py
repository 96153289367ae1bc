"""Energies of many candidates: `pairwise_energies` beside the expansion, a loop and the arithmetic.

Memory of the ways is the peak of the tensors alive at once that a call makes, and besides, for both, by how much a
fresh process grows.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from .arithmetic import (
    counted_flops,
    expanded_bytes,
    expanded_flops,
    factorised_flops,
    peak_bytes,
)
from .figure import Goal, Row, at_least, at_most
from .other_modules import OTHERS
from .policy import (
    TINY,
    Case,
    Size,
    expanded,
    largest_difference,
    make_case,
    ours,
    place,
    row_by_row,
)
from .side_by_side import MIB, alone, does_not_fit, fits, resident_peak, take_turns

SIZES = (
    Size(8, 512, 4096),
    Size(16, 256, 4096),
    Size(32, 256, 4096),
    Size(32, 128, 1024),
    Size(64, 128, 1024),
    Size(64, 32, 128),
    Size(256, 32, 128),
)

GAINS = {SIZES[0]: 7.6, SIZES[1]: 13.0, SIZES[3]: 12.0, SIZES[5]: 4.0}
"""How many times as fast as the expansion it shall be."""

OTHERS_AT = (SIZES[0], SIZES[3])

_LOOPED = 32
"""Pairs of the loop that are run; all of them cost the same."""

_ROWS = 2048
"""Rows of the expansion that are run at once; more make it no faster."""

_SAME = 1e-5
"""Largest relative difference between the ways."""


def measure(repeats: int, small: bool = False) -> list[Row]:
    """All rows; ``small`` runs everything at a size that shows nothing but that it runs."""
    sizes, others_at = ((TINY,), (TINY,)) if small else (SIZES, OTHERS_AT)
    rows = []
    with torch.no_grad():
        for size in sizes:
            rows += _times(size, repeats)
            rows += _memory(size, small)
        for size in others_at:
            rows += _other_modules(size, repeats)
        if torch.cuda.is_available():
            for size in sizes:
                rows += _on_gpu(size, repeats)
    return rows


def _times(size: Size, repeats: int) -> list[Row]:
    case = make_case(size)
    needed = expanded_bytes(case)
    pairs = size.contexts**2
    looped = min(_LOOPED, pairs)
    ways: dict[str, Callable[[], object]] = {
        "ours": lambda: ours(case),
        "loop": lambda: row_by_row(case, looped),
    }
    some = min(size.contexts, max(1, _ROWS // size.contexts))
    if fits(needed):
        ways["expanded"] = lambda: expanded(case.model, case.hidden[:some], case.actions, case.mask[:some])
        _must_agree(largest_difference(ours(case)[:some], ways["expanded"]()))  # type: ignore[arg-type]
    turns = take_turns(ways, repeats, {"loop": pairs / looped, "expanded": size.contexts / some})
    mine = turns.median("ours")
    told = does_not_fit(needed) if "expanded" not in turns else ""
    told = told or ("" if some == size.contexts else f"{some} of {size.contexts} contexts run")

    def row(name: str, way: str, goal: Goal | None, note: str) -> Row:
        return Row(f"{name} / ours", str(size), mine, turns.median(way), turns.ratio(way, "ours"), "s", goal, note)

    goal = at_least(GAINS[size]) if size in GAINS else None
    work, done, naive = factorised_flops(size), counted_flops(lambda: ours(case)), expanded_flops(size)
    return [
        Row(
            "arithmetic, expanded to B² rows / ours",
            str(size),
            done / 1e9,
            naive / 1e9,
            naive / done,
            "GFLOP",
            goal,
            f"ours as torch counts it; {naive / work:.2f} is the most there can be",
        ),
        row("expanded to B² rows", "expanded", goal, told),
        row("loop over pairs", "loop", None, f"{looped} of {pairs} pairs run"),
    ]


def _must_agree(difference: float) -> None:
    if not difference < _SAME:
        raise AssertionError(f"two ways differ by {difference:.1e}")


def grown_by(size: Size, way: str) -> float:
    """Bytes by which this process grows at its peak; run in a fresh one."""
    torch.set_grad_enabled(False)
    tiny = make_case(TINY)
    ours(tiny), expanded(tiny.model, tiny.hidden, tiny.actions, tiny.mask)  # code that is loaded does not count
    case = make_case(size)
    return resident_peak(lambda: _run(case, way))


def _run(case: Case, way: str) -> object:
    if way == "ours":
        return ours(case)
    return expanded(case.model, case.hidden, case.actions, case.mask)


def _memory(size: Size, small: bool) -> list[Row]:
    case = make_case(size)
    needed = expanded_bytes(case)
    room = fits(needed)
    ours(case)  # how the module can be batched is found out once
    mine = peak_bytes(lambda: ours(case))
    naive = peak_bytes(lambda: _run(case, "expanded")) if room else needed
    held = case.input_bytes + case.weight_bytes
    one_pass = peak_bytes(lambda: case.model(case.hidden, case.actions, case.mask))
    one_row = peak_bytes(lambda: case.model(case.hidden[:1], case.actions[:1], case.mask[:1]))
    single = peak_bytes(lambda: ours(case, memory_budget=0))
    rows = [
        Row(
            "peak of tensors, expanded / ours",
            str(size),
            mine / MIB,
            naive / MIB,
            naive / mine,
            "MiB",
            None,
            "" if room else does_not_fit(needed),
        ),
        Row(
            "inputs, weights and ours / with one plain pass over the contexts instead",
            str(size),
            (held + mine) / MIB,
            (held + one_pass) / MIB,
            (held + mine) / (held + one_pass),
            "MiB",
            at_most(1.5),
        ),
        Row(
            "the same for a memory budget of one context at a time",
            str(size),
            (held + single) / MIB,
            (held + one_row) / MIB,
            (held + single) / (held + one_row),
            "MiB",
            None,
            "one plain pass over one context",
        ),
    ]
    if not small:
        del case
        grown = {way: alone(grown_by, size, way) for way in (("ours", "expanded") if room else ("ours",))}
        other = grown.get("expanded", math.nan)
        rows.append(
            Row(
                "growth of a fresh process, expanded / ours",
                str(size),
                grown["ours"] / MIB,
                other / MIB,
                other / grown["ours"] if grown["ours"] else math.nan,
                "MiB",
                None,
                "" if room else does_not_fit(needed),
            )
        )
    return rows


def _other_modules(size: Size, repeats: int) -> list[Row]:
    rows = []
    for make in OTHERS:
        case = make_case(size, make)
        needed = expanded_bytes(case)
        ways: dict[str, Callable[[], object]] = {"ours": lambda case=case: ours(case)}
        if fits(needed):
            ways["expanded"] = lambda case=case: _run(case, "expanded")
            _must_agree(largest_difference(ways["ours"](), ways["expanded"]()))  # type: ignore[arg-type]
        turns = take_turns(ways, repeats)
        rows.append(
            Row(
                f"{_name(make)}, expanded to B² rows / ours",
                str(size),
                turns.median("ours"),
                turns.median("expanded"),
                turns.ratio("expanded", "ours"),
                "s",
                at_least(GAINS[size] / 2) if size in GAINS else None,
                "" if "expanded" in turns else does_not_fit(needed),
            )
        )
    return rows


def _name(make: Callable[[Size], nn.Module]) -> str:
    return getattr(make, "__name__", type(make).__name__)


def _on_gpu(size: Size, repeats: int) -> list[Row]:
    case = make_case(size, device="cuda")
    needed = expanded_bytes(case)
    ways: dict[str, Callable[[], object]] = {"ours": lambda: ours(case)}
    if fits(needed, case.device):
        ways["expanded"] = lambda: _run(case, "expanded")
    turns = take_turns(ways, repeats)
    return [
        Row(
            f"{place(case.device)}expanded to B² rows / ours",
            str(size),
            turns.median("ours"),
            turns.median("expanded"),
            turns.ratio("expanded", "ours"),
            "s",
            None,
            "" if "expanded" in turns else does_not_fit(needed),
        )
    ]
