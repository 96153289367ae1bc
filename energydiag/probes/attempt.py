"""Measurements that are skipped one by one where a model does not go along with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from energydiag.errors import EnergydiagError, first_line
from energydiag.probes.probe import Answer
from energydiag.results import Skipped


def attempt(names: Sequence[str], measure: Callable[[], Answer]) -> Answer:
    """What ``measure`` finds, or these names as skipped: a module may not run in a way that nobody asked it for."""
    try:
        return measure()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        reason = error.message if isinstance(error, EnergydiagError) else first_line(error)
        return all_skipped(names, reason, failed=True)


def all_skipped(names: Sequence[str], reason: str, *, failed: bool = False) -> Answer:
    """No number for any of these names, and one reason for all of them."""
    return Answer(skipped=tuple(Skipped(name, reason, failed) for name in names))
