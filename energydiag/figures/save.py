"""A diagnosis as a set of PNG and SVG files, and all of them on one page."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from energydiag.atomic import write_with
from energydiag.figures.figure import figures
from energydiag.results import Diagnosis

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

_STYLE: dict[str, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": "medium",
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "font.size": 9,
    "svg.hashsalt": "energydiag",
    "svg.fonttype": "none",
}


def save_figures(diagnosis: Diagnosis, folder: Path) -> tuple[Path, ...]:
    """Writes ``overview`` and one figure per aspect, each as PNG and SVG.

    Args:
        diagnosis: What to draw.
        folder: Where to; made if need be.

    Returns:
        What was written, the overview's PNG first.

    Raises:
        UsageError: The folder cannot be written to.
    """
    import matplotlib

    shown = [figure for figure in figures().values() if figure.shows(diagnosis)]
    written = []
    with matplotlib.rc_context(cast("Any", _STYLE)):
        if shown:
            written += _save(_page(diagnosis, [f.draw for f in shown]), folder / "overview")
        for figure in shown:
            written += _save(_page(diagnosis, [figure.draw]), folder / figure.name)
    return tuple(written)


def _page(diagnosis: Diagnosis, draws: list[Any]) -> Canvas:
    from matplotlib.figure import Figure as Canvas

    columns = 1 if len(draws) == 1 else 2
    rows = -(-len(draws) // columns)
    canvas = Canvas(figsize=(6.2 * columns, 4.0 * rows), layout="constrained")
    for index, draw in enumerate(draws):
        draw(diagnosis, canvas.add_subplot(rows, columns, index + 1))
    if len(draws) > 1:
        root = diagnosis.findings[0] if diagnosis.findings else None
        cause = f": {root.code} {root.name}" if root else ""
        name = Path(diagnosis.checkpoint.get("path", "")).name
        canvas.suptitle(f"{name}  {diagnosis.verdict}{cause}".strip(), fontweight="bold", parse_math=False)
    return canvas


def _save(canvas: Canvas, stem: Path) -> list[Path]:
    paths = [stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")]
    write_with(paths[0], functools.partial(canvas.savefig, dpi=130, metadata={"Software": None}))
    write_with(paths[1], functools.partial(canvas.savefig, metadata={"Date": None}))
    return paths
