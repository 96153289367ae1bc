"""The result itself, for programs."""

from __future__ import annotations

from energydiag.reports.report import Look, Report
from energydiag.results import Diagnosis


def _render(diagnosis: Diagnosis, _look: Look) -> str:
    return diagnosis.to_json()


REPORT = Report("json", _render)
