"""The answer for a tired person at a terminal."""

from __future__ import annotations

import io
from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.text import Text

from energydiag.reports.comparison_text import compared_parts
from energydiag.reports.diagnosis_text import diagnosis_parts
from energydiag.reports.fleet_text import fleet_parts
from energydiag.reports.repair_text import repair_parts
from energydiag.reports.report import Look, Report, Result
from energydiag.results import Comparison, Fleet, Repair


def _render(result: Result, look: Look) -> str:
    file = io.StringIO()
    console = Console(
        file=file,
        width=look.width,
        force_terminal=look.colour,
        color_system="standard" if look.colour else None,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
    for part in _parts(result, look):
        console.print(part, soft_wrap=isinstance(part, Text) and bool(part.no_wrap))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def _parts(result: Result, look: Look) -> Iterable[RenderableType]:
    if isinstance(result, Comparison):
        return compared_parts(result, look)
    if isinstance(result, Repair):
        return repair_parts(result, look)
    return fleet_parts(result, look) if isinstance(result, Fleet) else diagnosis_parts(result, look)


REPORT = Report("text", _render)
