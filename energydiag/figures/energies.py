"""Energies of the expert's actions and of each source's negatives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from energydiag.figures.figure import POSITIVE, SERIES, Figure
from energydiag.metrics import auroc_of
from energydiag.results import Diagnosis, Distribution

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def _shown(diagnosis: Diagnosis) -> dict[str, Distribution]:
    """The expert's, the swap negatives', the policy's and the widest noise's: more lines than that cannot be read."""
    found = {d.name.removeprefix("energy."): d for d in diagnosis.distributions if d.name.startswith("energy.")}
    noise = [name for name in found if name.startswith("noise_")][-1:]
    layers = [name for name in found if name.startswith("layer_")][:1]
    return {name: found[name] for name in ("positive", "swap", *layers, "policy", *noise, "supplied") if name in found}


def _label(diagnosis: Diagnosis, name: str) -> str:
    if name == "positive":
        return "expert (should be lowest)"
    auroc = diagnosis.measurement(auroc_of(name))
    words = {"swap": "other contexts' actions", "policy": "policy's action", "supplied": "supplied negatives"}
    label = words.get(name, name.replace("_", " "))
    return label if auroc is None else f"{label} (AUROC {auroc.value:.2f})"


def _draw(diagnosis: Diagnosis, axes: Axes) -> None:
    shown = _shown(diagnosis)
    colours = {name: SERIES[i % len(SERIES)] for i, name in enumerate(n for n in shown if n != "positive")}
    for name, distribution in shown.items():
        counts = np.asarray(distribution.counts, dtype=float)
        share = counts / max(counts.sum(), 1)
        colour = colours.get(name, POSITIVE)
        axes.stairs(share, distribution.edges, color=colour, linewidth=1.6, label=_label(diagnosis, name))
        if name in ("positive", "swap"):
            axes.stairs(share, distribution.edges, fill=True, color=colour, alpha=0.18)
    axes.set(
        title="Energies: expert against negatives",
        xlabel="energy (low = fits)",
        ylabel="share per bin (square-root scale)",
    )
    axes.set_yscale("function", functions=(np.sqrt, np.square))
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="small", frameon=False)


FIGURE = Figure("energies", Diagnosis, lambda diagnosis: bool(_shown(diagnosis)), _draw)
