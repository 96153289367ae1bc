"""Where following each checkpoint's energy leads, over the steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from energydiag.figures.figure import NEUTRAL, POSITIVE, SERIES, Figure
from energydiag.figures.over_steps import draw_lines, has_lines
from energydiag.metrics import ALIGNMENT_POLICY, GAIN_1, GAIN_4
from energydiag.results import Fleet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINES = {
    ALIGNMENT_POLICY: POSITIVE,
    GAIN_1: SERIES[4],
    GAIN_4: SERIES[3],
}


def _draw(fleet: Fleet, axes: Axes) -> None:
    axes.axhline(0, color=NEUTRAL, linewidth=0.8, linestyle=":")
    draw_lines(fleet, axes, _LINES)
    axes.set(title="The field: above 0 it helps", ylabel="cosine, share of the error")
    axes.legend(fontsize="small", frameon=False, loc="best")


FIGURE = Figure("fleet_field", Fleet, lambda fleet: has_lines(fleet, _LINES), _draw)
