"""What ``inspect`` measured and concluded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from energydiag.metrics import metric
from energydiag.results.codec import NOT_SAVED, AnyFloat, plain
from energydiag.results.facts import BatchFacts, CheckpointFacts, RunFacts
from energydiag.results.result import Result

if TYPE_CHECKING:
    import numpy as np
    import pandas
    from numpy.typing import NDArray

Severity = Literal["critical", "warning"]
Verdict = Literal["healthy", "warning", "undetermined", "critical"]


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
    draws: NDArray[np.float64] | None = field(default=None, repr=False, compare=False, metadata=NOT_SAVED)

    @classmethod
    def of(cls, name: str, value: float, n: int, ci95: tuple[float, float] | None = None, **others: Any) -> Measurement:
        """A measurement in the unit that the registry of metrics has for it."""
        return cls(name, value, metric(name).unit or "1", n, ci95, **others)


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

    def check(self) -> bool:
        """Whether there is an edge more than there are counts."""
        return len(self.edges) == len(self.counts) + 1


@dataclass(frozen=True)
class Curve:
    """A line that a figure is drawn from: ``y`` over ``x``, equally long."""

    name: str
    x: tuple[AnyFloat, ...]
    y: tuple[AnyFloat, ...]

    def check(self) -> bool:
        """Whether both are equally long."""
        return len(self.x) == len(self.y)


@dataclass(frozen=True)
class Skipped:
    """Something that was not done, and why.

    Attributes:
        name: Of the measurement, the probe or the rule.
        reason: Why.
        failed: Whether it should have been possible: the model raised, or the value is not finite.
    """

    name: str
    reason: str
    failed: bool = False


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
class Open:
    """A question that could not be answered.

    Attributes:
        question: What was asked.
        missing: What was not there.
        answer: The command, option or field that would answer it.
        could_be: How bad the answer could be; None where it could not change the verdict.
        code: The rule that asks, where one does.
    """

    question: str
    missing: str
    answer: str
    could_be: Severity | None = "critical"
    code: str = ""


@dataclass(frozen=True)
class Cause:
    """A change that was tried, and what became of the symptom.

    Attributes:
        edit: What was changed.
        metric: What it was looked at by.
        before: Its value as it is.
        after: Its value with the change.
        ci95: 95 % interval of the difference.
        confirms: Codes of the findings that it confirms.
    """

    edit: str
    metric: str
    before: float
    after: float
    ci95: tuple[float, float] | None = None
    confirms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Use:
    """What an energy is good for.

    Attributes:
        name: Of the use.
        verdict: Whether it helps.
        summary: One sentence with the numbers.
    """

    name: str
    verdict: Literal["helps", "inert", "harms", "undetermined"]
    summary: str


def verdict_of(findings: Iterable[Finding], questions: Iterable[Open]) -> Verdict:
    """The worst severity that was found, or ``"undetermined"`` where an open question could be worse."""
    found = {finding.severity for finding in findings}
    possible = {question.could_be for question in questions}
    if "critical" in found:
        return "critical"
    if "critical" in possible or ("warning" in possible and not found):
        return "undetermined"
    return "warning" if found else "healthy"


@dataclass(frozen=True, kw_only=True)
class Diagnosis(Result):
    """What ``inspect`` found; of a checkpoint, a run or a batch.

    Attributes:
        verdict: The worst severity among the findings; ``"undetermined"`` where an open question could be worse.
        measurements: Numbers, in the order they were measured.
        findings: Faults, the most probable root cause first.
        skipped: What could not be measured or judged, and why.
        open: Questions that could not be answered.
        causes: Changes that were tried, the best explanation first.
        uses: What the energy is good for.
        distributions: Histograms for figures.
        curves: Lines for figures.
        notes: Assumptions that the reader should know of.
    """

    verdict: Verdict
    measurements: tuple[Measurement, ...] = ()
    findings: tuple[Finding, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    open: tuple[Open, ...] = ()
    causes: tuple[Cause, ...] = ()
    uses: tuple[Use, ...] = ()
    distributions: tuple[Distribution, ...] = ()
    curves: tuple[Curve, ...] = ()
    notes: tuple[str, ...] = ()

    kind = "diagnosis"
    subject: ClassVar[Literal["checkpoint", "run", "batch"]]

    def facts(self) -> dict[str, CheckpointFacts | BatchFacts | RunFacts]:
        """What is known of the files that it is about, by their names in JSON; the first is its subject."""
        known = {name: getattr(self, name, None) for name in ("checkpoint", "run", "batch")}
        return {name: facts for name, facts in known.items() if facts is not None}

    @property
    def path(self) -> str:
        """The file that it is about; empty for what is in memory."""
        return next(iter(self.facts().values())).path

    def header(self) -> dict[str, Any]:
        """What stands in front of the fields in JSON."""
        return {**super().header(), "subject": self.subject}

    def check(self) -> bool:
        """Whether the verdict follows from the findings and the open questions."""
        return self.verdict == verdict_of(self.findings, self.open)

    def measurement(self, name: str) -> Measurement | None:
        """The measurement of this name, or None where it was not made."""
        return next((m for m in self.measurements if m.name == name), None)

    def to_frame(self) -> pandas.DataFrame:
        """The measurements as a table, one row each."""
        import pandas

        rows = [
            {**plain(m), "ci95_low": m.ci95 and m.ci95[0], "ci95_high": m.ci95 and m.ci95[1]} for m in self.measurements
        ]
        frame: pandas.DataFrame = pandas.DataFrame(rows).drop(columns="ci95").set_index("name")
        return frame


@dataclass(frozen=True, kw_only=True)
class CheckpointDiagnosis(Diagnosis):
    """What ``inspect checkpoint`` found.

    Attributes:
        checkpoint: What was understood of the checkpoint.
        batch: What was understood of the batch dump.
    """

    checkpoint: CheckpointFacts
    batch: BatchFacts

    subject = "checkpoint"


@dataclass(frozen=True, kw_only=True)
class RunDiagnosis(Diagnosis):
    """What ``inspect run`` found.

    Attributes:
        run: What was understood of the log.
    """

    run: RunFacts

    subject = "run"


@dataclass(frozen=True, kw_only=True)
class BatchDiagnosis(Diagnosis):
    """What ``inspect batch`` found.

    Attributes:
        batch: What was understood of the batch dump.
    """

    batch: BatchFacts

    subject = "batch"
