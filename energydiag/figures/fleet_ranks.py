"""How well each checkpoint ranks, and how much of its head is saturated, over the steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from energydiag.figures.figure import NEGATIVE, POSITIVE, SERIES, Figure
from energydiag.figures.over_steps import draw_lines, explain_marks, has_lines
from energydiag.metrics import AUROC, AUROC_POLICY, SATURATED, TOP1
from energydiag.results import Fleet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINES = {
    AUROC: POSITIVE,
    TOP1: SERIES[4],
    AUROC_POLICY: SERIES[3],
    SATURATED: NEGATIVE,
}


def _draw(fleet: Fleet, axes: Axes) -> None:
    draw_lines(fleet, axes, _LINES)
    explain_marks(fleet, axes)
    axes.set(title="Ranking and saturation", ylabel="share", ylim=(-0.03, 1.03))
    axes.legend(fontsize="small", frameon=False, loc="best")


FIGURE = Figure("fleet_ranks", Fleet, lambda fleet: has_lines(fleet, _LINES), _draw)
