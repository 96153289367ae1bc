"""Where in the action chunk the energy's gradient lies: share per dimension, and per step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from energydiag.figures.figure import NEGATIVE, NEUTRAL, POSITIVE, Figure
from energydiag.metrics import ACTION_GRADIENT, ACTION_SHARES
from energydiag.results import Diagnosis, Measurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def _shares(diagnosis: Diagnosis, part: str) -> list[Measurement]:
    return [m for m in diagnosis.measurements if m.name.startswith(f"{ACTION_SHARES}.{part}_")]


def _draw(diagnosis: Diagnosis, axes: Axes) -> None:
    dimensions, steps = _shares(diagnosis, "dimension"), _shares(diagnosis, "step")
    gap = 1.5
    for start, shares, colour, label in (
        (0.0, dimensions, POSITIVE, "action dimension"),
        (len(dimensions) + gap, steps, NEGATIVE, "step of the chunk"),
    ):
        places = [start + i for i in range(len(shares))]
        errors = [
            [m.value - m.ci95[0] if m.ci95 else 0 for m in shares],
            [m.ci95[1] - m.value if m.ci95 else 0 for m in shares],
        ]
        axes.bar(
            places,
            [m.value for m in shares],
            yerr=errors,
            color=colour,
            ecolor=NEUTRAL,
            capsize=2,
            label=label,
        )
        if shares:
            axes.hlines(1 / len(shares), places[0] - 0.5, places[-1] + 0.5, color=NEUTRAL, linestyle=":")
    ticks = [float(i) for i in range(len(dimensions))] + [len(dimensions) + gap + i for i in range(len(steps))]
    axes.set_xticks(ticks, [*(str(i) for i in range(len(dimensions))), *(str(i) for i in range(len(steps)))])
    norm = diagnosis.measurement(ACTION_GRADIENT)
    middle = "" if norm is None else f" (median norm {norm.value:.2g})"
    axes.set(title=f"Gradient with respect to the action{middle}", xlabel="index", ylabel="share (dotted: equal)")
    axes.legend(fontsize="small", frameon=False)


FIGURE = Figure("action-gradients", Diagnosis, lambda diagnosis: bool(_shares(diagnosis, "dimension")), _draw)
