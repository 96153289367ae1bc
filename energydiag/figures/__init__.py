"""Pictures of results: one file a figure."""

from energydiag.figures.figure import Figure, figures
from energydiag.figures.save import save_figures

__all__ = ["Figure", "figures", "save_figures"]
