"""What following the energy does to the action error, step by step, in every arm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from energydiag.figures.figure import NEGATIVE, NEUTRAL, POSITIVE, Figure
from energydiag.metrics import GAIN
from energydiag.results import Curve, Repair

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def _gains(repair: Repair) -> dict[str, Curve]:
    return {name: curve for name, arm in repair.arms.items() for curve in arm.curves if curve.name == GAIN}


def _draw(repair: Repair, axes: Axes) -> None:
    colours = {"before": NEUTRAL, "control": NEGATIVE, "after": POSITIVE}
    for name, curve in _gains(repair).items():
        axes.plot(curve.x, [-100 * gain for gain in curve.y], marker="o", color=colours.get(name, NEUTRAL), label=name)
        found = [repair.arms[name].measurement(f"{GAIN}.k{k:.0f}") for k in curve.x[1:]]
        if all(m is not None and m.ci95 is not None for m in found):
            low = [-100 * m.ci95[1] for m in found if m is not None and m.ci95 is not None]
            high = [-100 * m.ci95[0] for m in found if m is not None and m.ci95 is not None]
            axes.fill_between(curve.x[1:], low, high, color=colours.get(name, NEUTRAL), alpha=0.15)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(title="Action error along the energy (best step length)", xlabel="steps", ylabel="change of the error, %")
    axes.legend(fontsize="small", frameon=False)


FIGURE = Figure("correction", Repair, lambda repair: len(_gains(repair)) > 1, _draw)
