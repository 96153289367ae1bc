"""Gradient norm of the training loss in every module, first to last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from energydiag.figures.figure import NEUTRAL, POSITIVE, Figure
from energydiag.metrics import PARAMETER_GRADIENTS, part
from energydiag.results import Diagnosis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST = 24


def _norms(diagnosis: Diagnosis) -> list[tuple[str, float]]:
    found = [(name, m.value) for m in diagnosis.measurements if (name := part(m.name, PARAMETER_GRADIENTS))]
    step = -(-len(found) // _MOST) if found else 1
    return found[::step]


def _draw(diagnosis: Diagnosis, axes: Axes) -> None:
    norms = _norms(diagnosis)
    names = [_short(name) for name, _ in norms]
    values = [value for _, value in norms]
    rows = list(range(len(norms)))
    axes.barh(rows, values, color=POSITIVE, height=0.7)
    axes.set_yticks(rows, names, fontsize="x-small")
    axes.invert_yaxis()
    positive = [value for value in values if value > 0]
    if positive:
        axes.set_xscale("log")
        axes.set_xlim(min(positive) / 3, max(positive) * 3)
    else:
        axes.set_xlim(0, 1)
        axes.text(0.5, 0.5, "exactly 0 everywhere", transform=axes.transAxes, ha="center", color=NEUTRAL)
    axes.set(title="Gradient of the loss per module (first at the top)", xlabel="gradient norm")


def _short(name: str, most: int = 30) -> str:
    name = name.replace("mlp_resnet_blocks", "blocks")
    return name if len(name) <= most else "…" + name[1 - most :]


FIGURE = Figure("parameter-gradients", Diagnosis, lambda diagnosis: bool(_norms(diagnosis)), _draw)
