"""A training log, read, measured and judged: what `inspect run` tells, and what `compare runs` asks of each side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from energydiag.results import Finding, Measurement, Open, Skipped, Verdict
from energydiag.results.diagnosis import verdict_of
from energydiag.rules import judge
from energydiag.runs import Limits, RunLog, Told, limits_of, measure_run, questions, read_run


@dataclass(frozen=True)
class JudgedRun:
    """A log, what its losses can be, and what it says.

    Attributes:
        log: What was read.
        limits: What its losses can be.
        measurements: Of the log.
        unmeasured: What could not be measured, and why.
        findings: Faults, the most probable root cause first.
        not_asked: Rules that were not evaluated, and why.
        open: Questions that the log leaves open.
    """

    log: RunLog
    limits: Limits
    measurements: tuple[Measurement, ...]
    unmeasured: tuple[Skipped, ...]
    findings: tuple[Finding, ...]
    not_asked: tuple[Skipped, ...]
    open: tuple[Open, ...]

    @property
    def verdict(self) -> Verdict:
        """What follows from the findings and the open questions."""
        return verdict_of(self.findings, self.open)

    @property
    def first_step(self) -> float:
        """The first step at which anything was logged."""
        return min(float(series.step[0]) for series in self.log.series.values())

    @property
    def last_step(self) -> float:
        """The last step at which anything was logged."""
        return max(float(series.step[-1]) for series in self.log.series.values())


def judged_run(
    path: str | Path,
    names: Mapping[str, str] | None = None,
    told: Told | None = None,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> JudgedRun:
    """Reads, measures and judges the log of a training run.

    Args:
        path: The log, or the folder that holds one.
        names: Our names to those of the log's columns, where they are not found by themselves.
        told: What the log does not tell.
        select: Codes of rules, or prefixes of codes, to evaluate; empty: all.
        ignore: Codes not to ask.

    Raises:
        UnreadableFile: The log is missing, of no known format, or holds no numbers.
        UsageError: Nothing in it is understood, there are several runs, or what was given does not fit.
    """
    log = read_run(path, names)
    limits = limits_of(log, told or Told())
    answer = measure_run(log, limits)
    judged = judge(answer.measurements, select, ignore, objective=limits.objective.objective, unmeasured=answer.skipped)
    asked = questions(log, limits, answer.measurements, judged.findings)
    return JudgedRun(
        log, limits, answer.measurements, answer.skipped, judged.findings, judged.skipped, (*judged.open, *asked)
    )
