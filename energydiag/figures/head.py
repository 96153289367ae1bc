"""Raw values under the slope of the energy's activation: what lies where the slope is low does not learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from energydiag.figures.figure import NEGATIVE, NEUTRAL, POSITIVE, Figure
from energydiag.metrics import SATURATED
from energydiag.results import Curve, Diagnosis

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def _slope(diagnosis: Diagnosis) -> Curve | None:
    return next((c for c in diagnosis.curves if c.name == "head.relative_slope"), None)


def _draw(diagnosis: Diagnosis, axes: Axes) -> None:
    slope = _slope(diagnosis)
    assert slope is not None
    for name, colour, label in (
        ("positive", POSITIVE, "expert"),
        ("negative", NEGATIVE, "other contexts' actions"),
    ):
        found = next((d for d in diagnosis.distributions if d.name == f"head.raw.{name}"), None)
        if found is not None:
            counts = np.asarray(found.counts, dtype=float)
            heights = counts / max(counts.max(), 1)
            axes.stairs(heights, found.edges, fill=True, color=colour, alpha=0.35, label=f"raw values, {label}")
    axes.plot(slope.x, slope.y, color=NEUTRAL, linewidth=2, label="slope of the head")
    axes.axhline(0.1, color=NEUTRAL, linewidth=0.8, linestyle=":")
    axes.annotate(
        "saturated below",
        (slope.x[0], 0.1),
        xytext=(2, 2),
        textcoords="offset points",
        fontsize="x-small",
        color=NEUTRAL,
    )
    saturated = diagnosis.measurement(SATURATED)
    share = "" if saturated is None else f": {saturated.value:.0%} saturated"
    axes.set(
        title=f"Raw values under the head's slope{share}",
        xlabel="raw output",
        ylabel="relative to the highest",
    )
    axes.set_ylim(0, 1.35)
    axes.legend(fontsize="small", frameon=False, loc="upper left", ncols=1)


FIGURE = Figure("head", Diagnosis, lambda diagnosis: _slope(diagnosis) is not None, _draw)
