"""Gap and action gradient of each checkpoint, over the steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from energydiag.figures.figure import NEGATIVE, POSITIVE, Figure
from energydiag.figures.over_steps import draw_lines, has_lines
from energydiag.metrics import ACTION_GRADIENT, GAP_STD
from energydiag.results import Fleet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINES = {
    GAP_STD: POSITIVE,
    ACTION_GRADIENT: NEGATIVE,
}
_LINEAR = 1e-3
"""Below this the axis is linear: a gap can be negative, and a dead head's gradient is 0."""


def _draw(fleet: Fleet, axes: Axes) -> None:
    axes.set_yscale("symlog", linthresh=_LINEAR)
    draw_lines(fleet, axes, _LINES)
    axes.set(title="Gap and action gradient (symmetric log)")
    axes.legend(fontsize="small", frameon=False, loc="best")


FIGURE = Figure("fleet_scales", Fleet, lambda fleet: has_lines(fleet, _LINES), _draw)
