"""The result itself, for programs."""

from __future__ import annotations

from energydiag.reports.report import Look, Report
from energydiag.results import Diagnosis, Repair


def _render(result: Diagnosis | Repair, _look: Look) -> str:
    return result.to_json()


REPORT = Report("json", _render)
