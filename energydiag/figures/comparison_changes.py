"""What changed, in units of the smallest change that matters, with its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from energydiag.figures.figure import NEUTRAL, POSITIVE, SERIES, Figure
from energydiag.results import Comparison, MetricChange

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {"improved": SERIES[3], "regressed": SERIES[0], "unchanged": NEUTRAL, "inconclusive": POSITIVE}
_MOST = 24


def _shown(compared: Comparison) -> list[MetricChange]:
    """The rows with a direction and an interval, those that differ most for sure first."""
    drawn = [row for row in compared.judged if row.matters and row.ci95 is not None]
    return sorted(drawn, key=lambda row: 1.0 if row.p is None else row.p)[:_MOST]


def _draw(compared: Comparison, axes: Axes) -> None:
    rows = _shown(compared)[::-1]
    several = len(compared.sides) > 2
    limit = 0.0
    for place, row in enumerate(rows):
        unit = (row.matters or 1.0) * (1 if row.better == "higher" else -1)
        low, high = sorted(value / unit for value in row.ci95 or (row.delta, row.delta))
        colour = _COLOURS.get(row.verdict, NEUTRAL)
        axes.plot([low, high], [place, place], color=colour, linewidth=1.6)
        axes.plot([row.delta / unit], [place], "o", color=colour, markersize=4)
        limit = max(limit, abs(low), abs(high))
    axes.axvspan(-1, 1, color=NEUTRAL, alpha=0.12, linewidth=0)
    axes.axvline(0, color=NEUTRAL, linewidth=0.8)
    axes.set_yticks(range(len(rows)), [f"{row.name} ({row.side})" if several else row.name for row in rows])
    axes.set_xscale("symlog", linthresh=2)
    ticks = [tick for tick in (1, 10, 100, 1000) if tick <= max(limit, 1)]
    axes.set_xticks([*(-np.array(ticks[::-1])), 0, *ticks], [*(f"−{t}" for t in ticks[::-1]), "0", *map(str, ticks)])
    axes.set(
        title=f"Change{f' at {compared.at}' if compared.at else ''}, better to the right",
        xlabel="in units of the smallest change that matters, with 95 % intervals",
    )
    labels = {verdict: axes.plot([], [], "o", color=c, label=verdict)[0] for verdict, c in _COLOURS.items()}
    present = [label for verdict, label in labels.items() if any(row.verdict == verdict for row in rows)]
    axes.legend(handles=present, fontsize="small", frameon=False)


FIGURE = Figure("comparison_changes", Comparison, lambda compared: bool(_shown(compared)), _draw)
