"""Axes of a chart: where a number stands, and which numbers are written beside the axis."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from energydiag.reports.wording import short

Kind = Literal["linear", "log", "root"]

_LARGEST = 1e150
"""Beyond this, differences and squares of numbers are no longer numbers."""

_MOST_DECADES = 6
_NEAREST = 26.0
"""Units between two numbers beside a bent axis, at least."""


def drawable(value: object) -> bool:
    """Whether this number has a place on an axis."""
    return isinstance(value, int | float) and math.isfinite(value) and abs(value) < _LARGEST


@dataclass(frozen=True)
class Scale:
    """From numbers to places on the page.

    Attributes:
        low: Number at the start.
        high: Number at the end, larger.
        start: Place of the low number.
        end: Place of the high number; smaller than the start where the axis points up.
        kind: ``root`` shows small shares beside large ones.
    """

    low: float
    high: float
    start: float
    end: float
    kind: Kind = "linear"

    def at(self, value: float) -> float:
        """The place of a number; what lies outside is put at the end."""
        share = (self._bent(value) - self._bent(self.low)) / (self._bent(self.high) - self._bent(self.low))
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)

    def _bent(self, value: float) -> float:
        if self.kind == "log":
            return math.log10(max(value, self.low))
        return math.sqrt(max(value, 0)) if self.kind == "root" else value

    def ticks(self, about: int = 5) -> list[tuple[float, str]]:
        """Numbers to write beside the axis, with their text."""
        if self.kind == "log":
            return _decades(self.low, self.high)
        if self.kind == "root":
            return self._root_ticks()
        step = _step((self.high - self.low) / about)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        values = [place * step for place in range(first, last + 1)]
        return [(value, _plain(value, step)) for value in values]

    def _root_ticks(self) -> list[tuple[float, str]]:
        """Round numbers that are far enough from each other: a few above, and few of the crowded small ones."""
        power = 10.0 ** math.floor(math.log10(self.high))
        found = [0.0]
        for value in sorted(part * power for part in (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 4, 6, 8, 10)):
            if value <= self.high * 1.0001 and abs(self.at(value) - self.at(found[-1])) >= _NEAREST:
                found.append(value)
        return [(value, short(value)) for value in found]


def scale(
    values: Iterable[float],
    start: float,
    end: float,
    kind: Kind = "linear",
    within: tuple[float, float] | None = None,
) -> Scale:
    """An axis that holds these numbers, or exactly the range ``within``."""
    known = [value for value in values if drawable(value)]
    if kind == "log":
        known = [value for value in known if value > 0]
        low, high = (min(known), max(known)) if known else (0.1, 1.0)
        low, high = 10.0 ** math.floor(math.log10(low) + 1e-9), 10.0 ** math.ceil(math.log10(high) - 1e-9)
        return Scale(low, high if high > low else low * 10, start, end, kind)
    if within is not None:
        return Scale(*within, start, end, kind)
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if kind == "root":
        return Scale(0.0, high if high > 0 else 1.0, start, end, kind)
    spread = high - low
    # all the same: some room on both sides, so that the line is not drawn on the frame
    room = 0.05 * spread if spread > 1e-12 * max(abs(low), abs(high)) else 0.1 * (abs(high) or 1.0)
    return Scale(low - room, high + room, start, end, kind)


def thinned(count: int, most: int) -> Sequence[int]:
    """Indices of at most so many of ``count`` things, evenly spread, the first and the last among them."""
    if count <= most:
        return range(count)
    return sorted({round(place * (count - 1) / (most - 1)) for place in range(most)})


def _step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough)) if rough > 0 else 1.0
    return next((factor * power for factor in (1, 2, 5) if factor * power >= rough * 0.999), 10 * power)


def _plain(value: float, step: float) -> str:
    if abs(value) < step / 1e6:
        return "0"
    if not step >= 1e-3 or abs(value) >= 1e5:
        return short(value)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:.{digits}f}"


def _decades(low: float, high: float) -> list[tuple[float, str]]:
    first, last = round(math.log10(low)), round(math.log10(high))
    every = -(-(last - first) // _MOST_DECADES) or 1
    return [
        (10.0**power, short(10.0**power) if -3 <= power <= 4 else f"1e{power}")
        for power in range(first, last + 1, every)
    ]
