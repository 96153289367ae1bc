"""The curves of the runs: the second metric that they have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from energydiag.figures.comparison_curves import draw_curves, metric_at
from energydiag.figures.figure import Figure
from energydiag.results import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def _draw(compared: Comparison, axes: Axes) -> None:
    draw_curves(compared, axes, metric_at(compared, 1) or "")


FIGURE = Figure("comparison_curves_second", Comparison, lambda compared: metric_at(compared, 1) is not None, _draw)
