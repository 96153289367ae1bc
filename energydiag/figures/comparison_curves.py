"""The curves of the runs, one metric a figure, with their bands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from energydiag.figures.figure import POSITIVE, SERIES, Figure
from energydiag.results import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIRST_SHOWN = ("validation_loss", "auroc", "info_nce", "loss", "top1", "gap", "saturation")
_COLOURS = (POSITIVE, *SERIES)
_MOST_SIDES = len(_COLOURS)


def draw_curves(compared: Comparison, axes: Axes, name: str) -> None:
    """One metric of all sides, as many as there are colours."""
    bands = [band for band in compared.bands if band.name == name]
    for band, colour in zip(bands, _COLOURS, strict=False):
        axes.fill_between(band.x, band.low, band.high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(band.x, band.y, color=colour, linewidth=1.4, label=band.side)
    more = f" ({len(bands) - _MOST_SIDES} more not drawn)" if len(bands) > _MOST_SIDES else ""
    axes.set(title=f"{name}{more}", xlabel="step")
    axes.legend(fontsize="small", frameon=False)


def metric_at(compared: Comparison, place: int) -> str | None:
    """The metric of the n-th figure of curves, or None where there are fewer."""
    there = {band.name for band in compared.bands}
    names = [name for name in FIRST_SHOWN if name in there]
    return names[place] if place < len(names) else None


def _draw(compared: Comparison, axes: Axes) -> None:
    draw_curves(compared, axes, metric_at(compared, 0) or "")


FIGURE = Figure("comparison_curves", Comparison, lambda compared: metric_at(compared, 0) is not None, _draw)
