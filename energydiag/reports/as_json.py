"""The result itself, for programs."""

from __future__ import annotations

from energydiag.inert import escaped
from energydiag.reports.report import Look, Report, Result


def _render(result: Result, _look: Look) -> str:
    return escaped(result.to_json())


REPORT = Report("json", _render)
