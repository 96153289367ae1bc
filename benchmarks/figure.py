"""One measured figure: what was set side by side with what, the ratio, and the goal it is held against."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Goal:
    """A bound for a ratio.

    Attributes:
        bound: The number.
        at_least: Whether the ratio shall reach it, rather than stay within it.
    """

    bound: float
    at_least: bool = True

    def met(self, ratio: float) -> bool:
        """Whether a ratio is on the right side; NaN never is."""
        return ratio >= self.bound if self.at_least else ratio <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"


def at_least(bound: float) -> Goal:
    return Goal(bound)


def at_most(bound: float) -> Goal:
    return Goal(bound, at_least=False)


@dataclass(frozen=True)
class Row:
    """A figure; NaN stands where something could not be measured, and the note says why.

    Attributes:
        name: What is compared, with the direction of the ratio: ``"expanded / ours"``.
        size: Of the problem.
        ours: What energydiag took.
        other: What it is compared with.
        ratio: Median of the ratios of turns that followed each other, in the direction that the name tells.
        unit: Of ``ours`` and ``other``.
        goal: What the ratio is held against, where there is a goal.
        note: What else must be known to read it.
        points: ``(x, y)`` of a curve, for the picture.
    """

    name: str
    size: str
    ours: float
    other: float
    ratio: float
    unit: str = "s"
    goal: Goal | None = None
    note: str = ""
    points: tuple[tuple[float, float], ...] = ()

    @property
    def verdict(self) -> str:
        """Whether the goal is met; empty without a goal, or where nothing was measured."""
        if self.goal is None or math.isnan(self.ratio):
            return ""
        return "met" if self.goal.met(self.ratio) else "missed"

    def plain(self) -> dict[str, Any]:
        """For JSON, which knows no NaN."""
        values = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()}
        return values | {"goal": None if self.goal is None else str(self.goal), "verdict": self.verdict}


HEADER = ("what", "size", "ours", "other", "unit", "ratio", "goal", "", "note")


def cells(plain: dict[str, Any]) -> tuple[str, ...]:
    """A row as `Row.plain` gives it, as the table shows it."""
    numbers = (number(plain["ours"]), number(plain["other"]), plain["unit"], number(plain["ratio"]))
    return (plain["name"], plain["size"], *numbers, plain["goal"] or "", plain["verdict"], plain["note"])


def number(value: float | None) -> str:
    """Three digits that count."""
    if value is None or math.isnan(value):
        return "—"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """A table of rows as `Row.plain` gives them."""
    lines = [HEADER, tuple("---" for _ in HEADER), *(cells(row) for row in rows)]
    return "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines)
