"""A result as a set of PNG and SVG files, and all of them on one page."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from energydiag.atomic import write_with
from energydiag.figures.figure import figures
from energydiag.figures.plotting import styled
from energydiag.inert import inert
from energydiag.results import (
    Comparison,
    Diagnosis,
    Fleet,
    Repair,
    RunDiagnosis,
)

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


def save_figures(result: Diagnosis | Repair | Fleet | Comparison, folder: Path) -> tuple[Path, ...]:
    """Writes ``overview`` and one figure per aspect, each as PNG and SVG.

    Args:
        result: What to draw.
        folder: Where to; made if need be.

    Returns:
        What was written, the overview's PNG first.

    Raises:
        UsageError: The folder cannot be written to.
    """
    shown = [f for f in figures().values() if isinstance(result, f.of) and f.shows(result)]
    written = []
    with styled(_STYLE):
        if shown:
            written += _save(_page(result, [f.draw for f in shown]), folder / "overview")
        for figure in shown:
            written += _save(_page(result, [figure.draw]), folder / figure.name)
    return tuple(written)


def _page(result: Diagnosis | Repair | Fleet | Comparison, draws: list[Any]) -> Canvas:
    from matplotlib.figure import Figure as Canvas

    columns = 1 if len(draws) == 1 else 2
    rows = -(-len(draws) // columns)
    canvas = Canvas(figsize=(6.2 * columns, 4.0 * rows), layout="constrained")
    for index, draw in enumerate(draws):
        draw(result, canvas.add_subplot(rows, columns, index + 1))
    if len(draws) > 1:
        canvas.suptitle(_title(result), fontweight="bold", parse_math=False)
    return canvas


def _sanitize(canvas: Canvas) -> None:
    """Names out of strangers' files are no formulas, and hold nothing that XML forbids."""
    from matplotlib.text import Text
    from matplotlib.ticker import LogFormatter

    axis = [axis for axes in canvas.axes for axis in (axes.xaxis, axes.yaxis)]
    powers = [one for one in axis if isinstance(one.get_major_formatter(), LogFormatter)]
    ticks = [tick for one in powers for tick in (*one.get_major_ticks(), *one.get_minor_ticks())]
    formulas = {id(text) for tick in ticks for text in tick.findobj(Text)}  # empty until they are drawn
    for text in canvas.findobj(Text):
        if id(text) not in formulas:
            text.set_parse_math(False)
            text.set_text("\n".join(map(inert, text.get_text().split("\n"))))


def _title(result: Diagnosis | Repair | Fleet | Comparison) -> str:
    if isinstance(result, Repair):
        count = len(result.applied)
        done = f"{count} fix{'' if count == 1 else 'es'}"
        return f"{result.verdict}: {done}, {'accepted' if result.accepted else 'not accepted'}"
    if isinstance(result, Comparison):
        names = [side.name for side in result.sides]
        return f"{', '.join(names[1:])} against {names[0]}: {result.verdict}"
    if isinstance(result, Fleet):
        return f"{len(result.rows)} checkpoints, the worst {result.verdict}"
    cause = f": {result.findings[0].code} {result.findings[0].name}" if result.findings else ""
    if isinstance(result, RunDiagnosis):
        log = Path(result.path)
        return f"{log.parent.name}/{log.name}  {result.verdict}{cause}"
    return f"{Path(result.path).name}  {result.verdict}{cause}".strip()


def _save(canvas: Canvas, stem: Path) -> list[Path]:
    _sanitize(canvas)
    paths = [stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")]
    write_with(paths[0], functools.partial(canvas.savefig, dpi=130, metadata={"Software": None}))
    write_with(paths[1], functools.partial(canvas.savefig, metadata={"Date": None}))
    return paths
