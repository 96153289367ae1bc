"""What an output format says of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from energydiag.discovery import discover
from energydiag.results import Comparison, Diagnosis, Fleet, Repair

Result: TypeAlias = Diagnosis | Repair | Fleet | Comparison
"""What a format can show."""


@dataclass(frozen=True)
class Look:
    """How text is laid out.

    Attributes:
        width: Columns.
        colour: Whether escape codes for colour may be written.
        details: Whether every measurement is listed.
        next_command: What the reader should type next, or None.
    """

    width: int = 80
    colour: bool = False
    details: bool = False
    next_command: str | None = None


@dataclass(frozen=True)
class Report:
    """A format: result to text.

    Attributes:
        name: What ``--format`` takes.
        render: The whole text, with a newline at its end.
    """

    name: str
    render: Callable[[Result, Look], str]


def reports() -> dict[str, Report]:
    """All formats, by name."""
    return discover("energydiag.reports", "REPORT", Report)
