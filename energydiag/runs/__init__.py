"""Training logs: from a file to series of numbers under known names, and what is measured on them."""

from energydiag.runs.family import Answer, Family, measure_run
from energydiag.runs.limits import Limits, Told, limits_of
from energydiag.runs.log import RunLog, Series
from energydiag.runs.names import NAMES
from energydiag.runs.questions import questions
from energydiag.runs.read import read_run

__all__ = [
    "NAMES",
    "Answer",
    "Family",
    "Limits",
    "RunLog",
    "Series",
    "Told",
    "limits_of",
    "measure_run",
    "questions",
    "read_run",
]
