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
    as good. A metric without an interval is taken as it is.

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
    least, largest = sorted(sign * end for end in row.ci95 or (row.delta, row.delta))
    verdict: Literal["kept", "broken", "unclear"] = "unclear"
    if worse > most and least > 0:
        verdict = "broken"
    elif largest <= most:
        verdict = "kept"
    return Limit(name, text, row.side, worse, verdict)
