"""What a run's energies told apart over the steps: gap and AUROC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from energydiag.figures.figure import NEGATIVE, NEUTRAL, POSITIVE, Figure
from energydiag.results import Curve, Diagnosis

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def _curves(diagnosis: Diagnosis) -> dict[str, Curve]:
    return {c.name: c for c in diagnosis.curves if c.name in ("run.gap", "run.auroc")}


def _draw(diagnosis: Diagnosis, axes: Axes) -> None:
    curves = _curves(diagnosis)
    gap, auroc = curves.get("run.gap"), curves.get("run.auroc")
    axes.set(title="Energies told apart (should be above the lines)", xlabel="step")
    if gap is not None:
        axes.plot(gap.x, gap.y, color=POSITIVE, linewidth=1.4)
        axes.axhline(0, color=POSITIVE, linewidth=0.8, linestyle="--")
        axes.set_ylabel("gap: others' energy less the expert's", color=POSITIVE)
        axes.tick_params(axis="y", labelcolor=POSITIVE)
    if auroc is None:
        return
    side = axes if gap is None else axes.twinx()
    side.plot(auroc.x, auroc.y, color=NEGATIVE, linewidth=1.4)
    side.axhline(0.5, color=NEGATIVE, linewidth=0.8, linestyle=":")
    side.set_ylim(-0.02, 1.02)
    side.set_ylabel("AUROC (chance 0.5)", color=NEGATIVE)
    side.tick_params(axis="y", labelcolor=NEGATIVE)
    if side is not axes:
        side.spines["right"].set(visible=True, color=NEUTRAL)


FIGURE = Figure("run_ranking", Diagnosis, lambda diagnosis: bool(_curves(diagnosis)), _draw)
