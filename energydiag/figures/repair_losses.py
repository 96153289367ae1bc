"""Contrastive loss of control and repair over the steps, each with its floor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from energydiag.figures.figure import NEGATIVE, NEUTRAL, POSITIVE, Figure
from energydiag.results import Repair

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def _draw(repair: Repair, axes: Axes) -> None:
    for curve in repair.curves:
        arm, _, what = curve.name.partition(".")
        colour = {"control": NEGATIVE, "after": POSITIVE}.get(arm, NEUTRAL)
        axes.plot(curve.x, curve.y, color=colour, linestyle="-" if what == "info_nce" else ":", label=curve.name)
    axes.set(
        title="Contrastive loss (not comparable between arms: heads and negatives differ)", xlabel="step", ylabel="nats"
    )
    axes.set_title(axes.get_title(), fontsize="small")
    axes.legend(fontsize="small", frameon=False)


FIGURE = Figure("losses", Repair, lambda repair: bool(repair.curves), _draw)
