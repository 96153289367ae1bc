"""How large a regression the user allows, and whether it was kept to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from energydiag.errors import UsageError
from energydiag.results import Limit, MetricChange


def kept_to(allowed: Mapping[str, str], rows: Sequence[MetricChange]) -> tuple[Limit, ...]:
    """Every limit, held against every other side.

    A limit is kept where the whole interval of the difference is within it, and broken where a side is worse by more
    than it and the interval is on the worse side of zero; else it is unclear: not shown to be worse is not shown to be
    as good. Without an interval it is unclear.

    Args:
        allowed: By metric, ``5%`` of the first side's value, or a number in the metric's unit.
        rows: What was compared, at one place.

    Raises:
        UsageError: A limit is no number, or its metric was not compared or has no direction.
    """
    return tuple(_limit(name, text, row) for name, text in allowed.items() for row in _rows(name, rows))


def _rows(name: str, rows: Sequence[MetricChange]) -> list[MetricChange]:
    own = [row for row in rows if row.name == name]
    if not own:
        known = ", ".join(dict.fromkeys(row.name for row in rows if row.better != "none"))
        raise UsageError(f"--max-regression {name}: no such metric was compared.", f"take one of: {known}.")
    if any(row.better == "none" for row in own):
        reason = next(row.reason for row in own if row.better == "none")
        raise UsageError(f"--max-regression {name}: it cannot be compared: {reason}.", "limit a scale-free metric.")
    return own


def _limit(name: str, text: str, row: MetricChange) -> Limit:
    first = next(iter(row.values.values()))
    bare = text.removesuffix("%")
    try:
        size = float(bare)
    except ValueError:
        size = math.nan
    if not (math.isfinite(size) and size >= 0):
        raise UsageError(
            f"--max-regression {name}={text} is no number or percentage.",
            f"write, for example, --max-regression {name}=5%.",
        )
    most = size / 100 * abs(first) if bare != text else size
    sign = -1 if row.better == "higher" else 1
    worse = sign * row.delta
    return Limit(
        name, text, row.side, worse, _verdict(worse, most, row.ci95 and sorted(sign * end for end in row.ci95))
    )


def _verdict(worse: float, most: float, interval: Sequence[float] | None) -> Literal["kept", "broken", "unclear"]:
    """What a side that is worse by so much did to a limit.

    Args:
        worse: By how much it is worse; below 0 where it is better.
        most: What is allowed.
        interval: Both ends for ``worse``, the lower one first; None where none is known.
    """
    if interval is None:
        return "unclear"
    if worse > most and interval[0] > 0:
        return "broken"
    return "kept" if interval[1] <= most else "unclear"
