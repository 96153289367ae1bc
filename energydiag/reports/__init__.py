"""Results as text: one file an output format."""

from energydiag.reports.report import Report, reports

__all__ = ["Report", "reports"]
