"""What ``inspect`` found in several checkpoints on the same batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from energydiag.results.diagnosis import CheckpointDiagnosis, Finding, Verdict
from energydiag.results.facts import BatchFacts
from energydiag.results.result import Result

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Inspected:
    """One checkpoint: either its diagnosis, or why there is none.

    Attributes:
        checkpoint: Its path, as it was given.
        step: Optimiser steps it was trained for, by its metadata or its name; None where neither tells.
        diagnosis: What was found, or None.
        error: Why there is no diagnosis; empty where there is one.
        next_step: What to do about that.
    """

    checkpoint: str
    step: int | None
    diagnosis: CheckpointDiagnosis | None = None
    error: str = ""
    next_step: str = ""

    @property
    def root(self) -> Finding | None:
        """The finding that stands first, or None."""
        return self.diagnosis.findings[0] if self.diagnosis is not None and self.diagnosis.findings else None

    def value(self, name: str) -> float | None:
        """The measurement of this name, or None where it was not made."""
        found = None if self.diagnosis is None else self.diagnosis.measurement(name)
        return None if found is None else found.value

    def check(self) -> bool:
        """Whether there is either a diagnosis or an error."""
        return (self.diagnosis is None) == bool(self.error)


@dataclass(frozen=True, kw_only=True)
class Fleet(Result):
    """Several checkpoints, measured on the same batch.

    Attributes:
        rows: One a checkpoint, by step; those without one behind the others, by name.
        batch: What was understood of the batch dump.
    """

    rows: tuple[Inspected, ...]
    batch: BatchFacts

    kind = "fleet"

    @property
    def verdict(self) -> Verdict:
        """The worst among the checkpoints that were measured."""
        order: tuple[Verdict, ...] = ("critical", "undetermined", "warning")
        found = {row.diagnosis.verdict for row in self.rows if row.diagnosis is not None}
        return next((verdict for verdict in order if verdict in found), "healthy")

    @property
    def diagnosed(self) -> tuple[Inspected, ...]:
        """The rows that have a diagnosis."""
        return tuple(row for row in self.rows if row.diagnosis is not None)

    @property
    def failed(self) -> tuple[Inspected, ...]:
        """The rows that have none."""
        return tuple(row for row in self.rows if row.diagnosis is None)

    def header(self) -> dict[str, Any]:
        """What stands in front of the fields in JSON."""
        return {**super().header(), "verdict": self.verdict}

    def to_frame(self) -> pandas.DataFrame:
        """One row a checkpoint: step, verdict, code of the first finding, error, and every measurement by its name."""
        import pandas

        rows = [
            {
                **{"checkpoint": row.checkpoint, "step": row.step},
                "verdict": None if row.diagnosis is None else row.diagnosis.verdict,
                "root": None if row.root is None else row.root.code,
                "error": row.error or None,
                **({} if row.diagnosis is None else {m.name: m.value for m in row.diagnosis.measurements}),
            }
            for row in self.rows
        ]
        columns = ["checkpoint", "step", "verdict", "root", "error"]
        frame: pandas.DataFrame = pandas.DataFrame(rows, columns=None if rows else columns).set_index("checkpoint")
        return frame
