"""How large a regression the user allows, and whether it was kept to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from energydiag.errors import UsageError
from energydiag.results import Limit, MetricChange


def kept_to(allowed: Mapping[str, str], rows: Sequence[MetricChange]) -> tuple[Limit, ...]:
    """Every limit, held against every other side.

    A limit is broken where a side is worse by more than it, and the interval of the difference is on the worse side of
    zero; where the interval holds zero too, it is unclear. A metric without an interval is taken as it is.

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
    worse = -row.delta if row.better == "higher" else row.delta
    verdict: Literal["kept", "broken", "unclear"] = "kept"
    if worse > most:
        verdict = "unclear" if row.ci95 is not None and row.ci95[0] <= 0 <= row.ci95[1] else "broken"
    return Limit(name, text, row.side, worse, verdict)
