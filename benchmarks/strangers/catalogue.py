"""All cases, by their names."""

from __future__ import annotations

from .case import Case
from .faulty import FAULTY
from .healthy import HEALTHY


def cases() -> dict[str, Case]:
    """Healthy ones, then faulty ones."""
    return {case.name: case for case in (*HEALTHY, *FAULTY)}
