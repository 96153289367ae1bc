"""Energies of expert and other contexts' actions before and after, each in units of its own swap spread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from energydiag.figures.figure import NEGATIVE, POSITIVE, Figure
from energydiag.results import Diagnosis, Repair

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FARTHEST = 30.0
"""Standard deviations beyond which a few outliers would squeeze all the rest together."""


def _standardised(diagnosis: Diagnosis, name: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Edges and shares of a histogram, edges less the swap mean over the swap deviation."""
    found = {d.name: d for d in diagnosis.distributions}
    swap, wanted = found.get("energy.swap"), found.get(f"energy.{name}")
    if swap is None or wanted is None or not sum(wanted.counts):
        return None
    edges, weights = np.asarray(swap.edges), np.asarray(swap.counts, dtype=float)
    middle = (edges[1:] + edges[:-1]) / 2
    mean = float(np.average(middle, weights=weights))
    spread = float(np.sqrt(np.average((middle - mean) ** 2, weights=weights)))
    shares = np.asarray(wanted.counts, dtype=float) / sum(wanted.counts)
    return (np.asarray(wanted.edges) - mean) / (spread or 1.0), shares


def _draw(repair: Repair, axes: Axes) -> None:
    low, high = -6.0, 4.0
    for arm, direction in (("before", -1), ("after", 1)):
        for name, colour in (("positive", POSITIVE), ("swap", NEGATIVE)):
            drawn = _standardised(repair.arms[arm], name)
            if drawn is not None:
                edges, shares = drawn
                filled = np.flatnonzero(shares)
                low, high = min(low, edges[filled[0]]), max(high, edges[filled[-1] + 1])
                label = f"{'expert' if name == 'positive' else 'others'}, {arm}"
                axes.stairs(
                    direction * shares,
                    edges,
                    fill=True,
                    alpha=0.5 if direction > 0 else 0.25,
                    color=colour,
                    label=label,
                )
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(
        title="Energies after (up) and before (down)",
        xlabel="standard deviations of others' energies",
        ylabel="share per bin",
    )
    axes.set_xlim(max(low, -_FARTHEST), min(high, _FARTHEST))
    axes.legend(fontsize="small", frameon=False)


FIGURE = Figure("energies-before-after", Repair, lambda repair: {"before", "after"} <= set(repair.arms), _draw)
