"""The answer for a tired person at a terminal."""

from __future__ import annotations

import io

from rich.console import Console
from rich.text import Text

from energydiag.reports.diagnosis_text import diagnosis_parts
from energydiag.reports.repair_text import repair_parts
from energydiag.reports.report import Look, Report
from energydiag.results import Diagnosis, Repair


def _render(result: Diagnosis | Repair, look: Look) -> str:
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
    parts = repair_parts(result, look) if isinstance(result, Repair) else diagnosis_parts(result, look)
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, Text) and bool(part.no_wrap))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


REPORT = Report("text", _render)
