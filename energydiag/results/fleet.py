"""What ``inspect`` found in several checkpoints on the same batch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, cast

from energydiag.results.diagnosis import SCHEMA_VERSION, Diagnosis, Finding, Verdict, without_draws

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
    diagnosis: Diagnosis | None = None
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

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, as JSON has them."""
        found = None if self.diagnosis is None else self.diagnosis.to_dict()
        return {**{f.name: getattr(self, f.name) for f in fields(self)}, "diagnosis": found}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Inspected:
        """The row that `to_dict` wrote.

        Raises:
            KeyError, TypeError: It is not one.
        """
        found = plain["diagnosis"]
        if (found is None) != bool(plain["error"]):
            raise TypeError("a row with neither a diagnosis nor an error, or with both")
        return cls(
            checkpoint=plain["checkpoint"],
            step=plain["step"],
            diagnosis=None if found is None else Diagnosis.from_dict(found),
            error=plain["error"],
            next_step=plain["next_step"],
        )


@dataclass(frozen=True)
class Fleet:
    """Several checkpoints, measured on the same batch.

    Attributes:
        rows: One a checkpoint, by step; those without one behind the others, by name.
        batch: What was understood of the batch dump.
        provenance: Command line, settings, versions.
        created: ISO 8601, UTC.
        energydiag_version: Version that wrote it.
    """

    rows: tuple[Inspected, ...]
    batch: Mapping[str, str]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""
    energydiag_version: str = ""

    kind = "fleet"

    @property
    def verdict(self) -> Verdict:
        """The worst among the checkpoints that were measured."""
        order: tuple[Verdict, ...] = ("critical", "warning")
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

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, as JSON has them."""
        rows = [row.to_dict() for row in self.rows]
        rest = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "rows"}
        plain = cast("dict[str, Any]", json.loads(json.dumps(without_draws(rest))))
        return {"schema_version": SCHEMA_VERSION, "kind": self.kind, "verdict": self.verdict, "rows": rows, **plain}

    def to_json(self) -> str:
        """The result as JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

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

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Fleet:
        """The result that `to_dict` wrote.

        Raises:
            KeyError, TypeError: It is not one.
        """
        if plain["kind"] != cls.kind:
            raise TypeError(f"kind {plain['kind']!r}")
        return cls(
            rows=tuple(Inspected.from_dict(row) for row in plain["rows"]),
            batch=plain["batch"],
            provenance=plain["provenance"],
            created=plain["created"],
            energydiag_version=plain["energydiag_version"],
        )
