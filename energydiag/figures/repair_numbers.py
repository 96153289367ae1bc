"""The scale-free numbers that a repair is judged on, arm by arm, with their intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from energydiag.figures.figure import NEGATIVE, NEUTRAL, POSITIVE, Figure
from energydiag.results import Repair

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ARMS = {"before": (NEUTRAL, -0.22), "control": (NEGATIVE, 0.0), "after": (POSITIVE, 0.22)}


def _names(repair: Repair) -> list[str]:
    return [] if repair.against_before is None else [metric.name for metric in repair.against_before.metrics]


def _draw(repair: Repair, axes: Axes) -> None:
    names = _names(repair)
    for arm, (colour, offset) in _ARMS.items():
        if arm not in repair.arms:
            continue
        found = [(row, repair.arms[arm].measurement(name)) for row, name in enumerate(names)]
        shown = [(row + offset, m) for row, m in found if m is not None]
        axes.plot([m.value for _, m in shown], [row for row, _ in shown], "o", color=colour, label=arm, markersize=5)
        for row, m in shown:
            if m.ci95 is not None:
                axes.plot(m.ci95, (row, row), color=colour, linewidth=1.5, alpha=0.6)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set(title="What the repair is judged on (higher is better)", xlabel="value and 95 % interval")
    axes.legend(fontsize="small", frameon=False, loc="best")


FIGURE = Figure("numbers", Repair, lambda repair: bool(_names(repair)) and len(repair.arms) > 1, _draw)
