"""A run's losses over the steps, between chance and the floor that its head sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from energydiag.figures.figure import NEGATIVE, NEUTRAL, POSITIVE, SERIES, Figure
from energydiag.results import Diagnosis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINES = {
    "run.loss": ("loss", SERIES[4]),
    "run.info_nce": ("InfoNCE", POSITIVE),
    "run.validation_loss": ("held-out samples", NEGATIVE),
}
_LIMITS = {"run.chance": ("chance", "--"), "run.floor": ("floor", ":")}


def _draw(diagnosis: Diagnosis, axes: Axes) -> None:
    curves = {curve.name: curve for curve in diagnosis.curves}
    for name, (label, colour) in _LINES.items():
        if name in curves:
            axes.plot(curves[name].x, curves[name].y, color=colour, linewidth=1.4, label=label)
    for name, (label, style) in _LIMITS.items():
        if name in curves:
            value = curves[name].y[0]
            axes.plot(
                *(curves[name].x, curves[name].y),
                color=NEUTRAL,
                linestyle=style,
                linewidth=1.2,
                label=f"{label} {value:.3g}",
            )
    limits = " between chance and floor" if curves.keys() >= _LIMITS.keys() else ""
    axes.set(title=f"Loss{limits}", xlabel="step", ylabel="nats")
    axes.legend(fontsize="small", frameon=False)


FIGURE = Figure("run_losses", Diagnosis, lambda diagnosis: any(c.name in _LINES for c in diagnosis.curves), _draw)
