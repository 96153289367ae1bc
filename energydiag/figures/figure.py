"""What a figure says of itself, and the colours that all of them share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from energydiag.discovery import discover
from energydiag.results import Diagnosis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POSITIVE = "#0072b2"
NEGATIVE = "#d55e00"
NEUTRAL = "#555555"
SERIES = ("#d55e00", "#e69f00", "#cc79a7", "#009e73", "#56b4e9", "#8c564b", "#b8a300")
"""Okabe and Ito's colours (2008), which people with colour-blindness can tell apart."""


@dataclass(frozen=True)
class Figure:
    """A picture of one aspect of a diagnosis.

    Attributes:
        name: Stem of its file.
        shows: Whether this diagnosis holds what it draws.
        draw: Draws on an empty pair of axes.
    """

    name: str
    shows: Callable[[Diagnosis], bool]
    draw: Callable[[Diagnosis, Axes], None]


def figures() -> dict[str, Figure]:
    """All figures, by name."""
    return discover("energydiag.figures", "FIGURE", Figure)
