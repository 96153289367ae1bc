"""Contrastive loss of control and repair over the steps, each with its floor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from energydiag.figures.figure import NEGATIVE, NEUTRAL, POSITIVE, Figure
from energydiag.results import Repair

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_LABELS = {
    "control.info_nce": "control",
    "control.floor": "control's floor",
    "after.info_nce": "after",
    "after.floor": "after's floor",
    "after.chance": "after's chance",
}


def _draw(repair: Repair, axes: Axes) -> None:
    for curve in repair.curves:
        arm, _, what = curve.name.partition(".")
        colour = {"control": NEGATIVE, "after": POSITIVE}.get(arm, NEUTRAL)
        axes.plot(
            curve.x,
            curve.y,
            color=colour,
            linestyle="-" if what == "info_nce" else ":",
            label=_LABELS.get(curve.name, curve.name),
        )
    axes.set(title="Contrastive loss (arms differ in head and negatives)", xlabel="step", ylabel="nats")
    axes.legend(fontsize="small", framealpha=0.8, edgecolor="none")


FIGURE = Figure("losses", Repair, lambda repair: bool(repair.curves), _draw)
