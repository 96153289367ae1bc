"""What ``inspect`` measured and concluded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

from energydiag.metrics import metric

if TYPE_CHECKING:
    import numpy as np
    import pandas
    from numpy.typing import NDArray

SCHEMA_VERSION = 1

Severity = Literal["critical", "warning"]
Verdict = Literal["healthy", "warning", "critical"]


@dataclass(frozen=True)
class Measurement:
    """One number.

    Attributes:
        name: ``family.metric[.part]``.
        value: The number, finite.
        unit: ``"1"`` for a ratio or a share, else ``"energy"``, ``"nat"``, ``"count"``, …
        n: How many samples it rests on.
        ci95: 95 % interval, where it is an average over samples.
        source: Which probe measured it.
        unsure: Whether it is an average over too few episodes for an interval to be drawn.
        draws: Bootstrap values that the interval was taken from, for paired comparison; not saved.
    """

    name: str
    value: float
    unit: str
    n: int
    ci95: tuple[float, float] | None = None
    source: str | None = None
    unsure: bool = False
    draws: NDArray[np.float64] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, name: str, value: float, n: int, ci95: tuple[float, float] | None = None, **others: Any) -> Measurement:
        """A measurement in the unit that the registry of metrics has for it."""
        return cls(name, value, metric(name).unit or "1", n, ci95, **others)


def without_draws(plain: Any) -> Any:
    """Nested dicts and lists without the bootstrap values, which are too many to save."""
    if isinstance(plain, Mapping):
        return {key: without_draws(value) for key, value in plain.items() if key != "draws"}
    if isinstance(plain, list | tuple):
        return [without_draws(value) for value in plain]
    return plain


@dataclass(frozen=True)
class Distribution:
    """A histogram that a figure is drawn from.

    Attributes:
        name: What was counted, ``family.what[.part]``.
        unit: Unit of the edges.
        edges: k + 1 increasing numbers.
        counts: k counts.
    """

    name: str
    unit: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Curve:
    """A line that a figure is drawn from: ``y`` over ``x``, equally long."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Skipped:
    """Something that was not done, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Finding:
    """A fault, named.

    Attributes:
        code: ``ED`` and three digits.
        name: The rule's name.
        severity: How bad it is.
        summary: One sentence with the numbers.
        evidence: Names of the measurements that it rests on.
        cause: Why it happens.
        fixes: Names of repairs, most promising first.
        healthy: What would be healthy, by the name of the measurement.
        explained_by: Code of the finding that explains this one, if one does.
    """

    code: str
    name: str
    severity: Severity
    summary: str
    evidence: tuple[str, ...]
    cause: str
    fixes: tuple[str, ...]
    healthy: Mapping[str, str] = field(default_factory=dict)
    explained_by: str | None = None


@dataclass(frozen=True)
class Diagnosis:
    """What ``inspect`` found.

    Attributes:
        verdict: The worst severity among the findings, or ``"healthy"``.
        checkpoint: What was understood of the checkpoint (path, architecture, head, …), as text.
        batch: What was understood of the batch dump.
        measurements: Numbers, in the order they were measured.
        findings: Faults, the most probable root cause first.
        skipped: What could not be measured or judged, and why.
        inconclusive: Rules, by their codes, that the samples are too few to answer, and what speaks for a fault.
        distributions: Histograms for figures.
        curves: Lines for figures.
        notes: Assumptions that the reader should know of.
        provenance: Hashes of the inputs, command line, seed, device, type, library versions.
        created: ISO 8601, UTC.
        energydiag_version: Version that wrote it.
    """

    verdict: Verdict
    checkpoint: Mapping[str, str]
    batch: Mapping[str, str]
    measurements: tuple[Measurement, ...]
    findings: tuple[Finding, ...]
    skipped: tuple[Skipped, ...]
    distributions: tuple[Distribution, ...] = ()
    curves: tuple[Curve, ...] = ()
    notes: tuple[str, ...] = ()
    inconclusive: tuple[Skipped, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""
    energydiag_version: str = ""

    kind = "diagnosis"

    @property
    def freedom(self) -> float:
        """Degrees of freedom of its averages: its episodes, or its samples where none are named, less one."""
        episodes = self.batch.get("episodes", "unknown")
        count = episodes if episodes.isdecimal() else self.batch["samples_used"]
        return max(1.0, float(count) - 1)

    def measurement(self, name: str) -> Measurement | None:
        """The measurement of this name, or None where it was not made."""
        return next((m for m in self.measurements if m.name == name), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, as JSON has them."""
        plain = cast("dict[str, Any]", json.loads(json.dumps(without_draws(asdict(self)))))
        return {"schema_version": SCHEMA_VERSION, "kind": self.kind, **plain}

    def to_json(self) -> str:
        """The result as JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    def to_frame(self) -> pandas.DataFrame:
        """The measurements as a table, one row each."""
        import pandas

        rows = [
            {**without_draws(asdict(m)), "ci95_low": m.ci95 and m.ci95[0], "ci95_high": m.ci95 and m.ci95[1]}
            for m in self.measurements
        ]
        frame: pandas.DataFrame = pandas.DataFrame(rows).drop(columns="ci95").set_index("name")
        return frame

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Diagnosis:
        """The diagnosis that `to_dict` wrote.

        Raises:
            KeyError, TypeError: It is not one.
        """
        worst = {finding["severity"] for finding in plain["findings"]}
        verdict = next((one for one in ("critical", "warning") if one in worst), "healthy")
        if plain["kind"] != cls.kind or plain["verdict"] != verdict:
            raise TypeError(f"kind {plain['kind']!r} with verdict {plain['verdict']!r} over {verdict} findings")
        return cls(
            verdict=plain["verdict"],
            checkpoint=plain["checkpoint"],
            batch=plain["batch"],
            measurements=tuple(
                Measurement(**{**m, "ci95": tuple(m["ci95"]) if m["ci95"] else None}) for m in plain["measurements"]
            ),
            findings=tuple(
                Finding(**{**f, "evidence": tuple(f["evidence"]), "fixes": tuple(f["fixes"])})
                for f in plain["findings"]
            ),
            skipped=tuple(Skipped(**s) for s in plain["skipped"]),
            distributions=tuple(
                Distribution(d["name"], d["unit"], tuple(d["edges"]), tuple(d["counts"]))
                for d in plain["distributions"]
            ),
            curves=tuple(Curve(c["name"], tuple(c["x"]), tuple(c["y"])) for c in plain["curves"]),
            notes=tuple(plain["notes"]),
            inconclusive=tuple(Skipped(**s) for s in plain.get("inconclusive", ())),
            provenance=plain["provenance"],
            created=plain["created"],
            energydiag_version=plain["energydiag_version"],
        )
