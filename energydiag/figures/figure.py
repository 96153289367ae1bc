"""What a figure says of itself, and the colours that all of them share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from energydiag.discovery import discover
from energydiag.results import Comparison, Diagnosis, Fleet, Repair

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Result = TypeVar("Result", Diagnosis, Repair, Fleet, Comparison)

POSITIVE = "#0072b2"
NEGATIVE = "#d55e00"
NEUTRAL = "#555555"
SERIES = ("#d55e00", "#e69f00", "#cc79a7", "#009e73", "#56b4e9", "#8c564b", "#b8a300")
"""Okabe and Ito's colours (2008), which people with colour-blindness can tell apart."""


@dataclass(frozen=True)
class Figure(Generic[Result]):
    """A picture of one aspect of a result.

    Attributes:
        name: Stem of its file.
        of: Kind of result that it draws.
        shows: Whether this result holds what it draws.
        draw: Draws on an empty pair of axes.
    """

    name: str
    of: type[Result]
    shows: Callable[[Result], bool]
    draw: Callable[[Result, Axes], None]


def figures() -> dict[str, Figure[Any]]:
    """All figures, by name."""
    return discover("energydiag.figures", "FIGURE", Figure)
