"""What the figures of several checkpoints share: lines of measurements over the steps of training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

from energydiag.figures.figure import NEUTRAL
from energydiag.metrics import metric
from energydiag.results import Fleet, Inspected, Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKS = {"healthy": "o", "warning": "^", "undetermined": "D", "critical": "X"}
_FEWEST = 2
_MOST_NAMES = 14


def has_lines(fleet: Fleet, names: Iterable[str]) -> bool:
    """Whether one of these was measured in two checkpoints at least."""
    return any(sum(row.value(name) is not None for row in fleet.rows) >= _FEWEST for name in names)


def draw_lines(fleet: Fleet, axes: Axes, colours: Mapping[str, str]) -> None:
    """Draws measurements over steps, or over checkpoints where one has no step; a mark's shape is the verdict.

    Args:
        fleet: The checkpoints.
        axes: Where to draw.
        colours: By the measurement's name.
    """
    rows = fleet.diagnosed
    place = _places(rows)
    for name, colour in colours.items():
        found = [(x, row, m) for x, row in zip(place, rows, strict=True) if (m := _measured(row, name)) is not None]
        if not found:
            continue
        axes.plot(
            [x for x, _, _ in found],
            [m.value for _, _, m in found],
            color=colour,
            linewidth=1.3,
            label=metric(name).label,
        )
        banded = [(x, m.ci95) for x, _, m in found if m.ci95 is not None]
        if len(banded) >= _FEWEST:
            low, high = [ends[0] for _, ends in banded], [ends[1] for _, ends in banded]
            axes.fill_between([x for x, _ in banded], low, high, color=colour, alpha=0.15, linewidth=0)
        for verdict, mark in _MARKS.items():
            marked = [(x, m.value) for x, row, m in found if row.diagnosis and row.diagnosis.verdict == verdict]
            axes.plot([x for x, _ in marked], [y for _, y in marked], mark, color=colour, markersize=6)
    _name_places(axes, rows, place)


def explain_marks(fleet: Fleet, axes: Axes) -> None:
    """Adds the verdicts that occur to the legend."""
    verdicts = {row.diagnosis.verdict for row in fleet.rows if row.diagnosis is not None}
    for verdict, mark in _MARKS.items():
        if verdict in verdicts:
            axes.plot([], [], mark, color=NEUTRAL, markersize=6, label=verdict)


def _measured(row: Inspected, name: str) -> Measurement | None:
    return None if row.diagnosis is None else row.diagnosis.measurement(name)


def _stepped(rows: Sequence[Inspected]) -> bool:
    steps = {row.step for row in rows}
    return None not in steps and len(steps) == len(rows)


def _places(rows: Sequence[Inspected]) -> list[float]:
    return [float(row.step or 0) if _stepped(rows) else float(place) for place, row in enumerate(rows)]


def _name_places(axes: Axes, rows: Sequence[Inspected], place: Sequence[float]) -> None:
    if _stepped(rows):
        axes.set_xlabel("step")
        return
    every = -(-len(rows) // _MOST_NAMES)
    names = [PurePath(row.checkpoint).stem for row in rows]
    axes.set_xticks(place[::every], names[::every], rotation=30, ha="right", parse_math=False)
