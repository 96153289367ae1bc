"""Annotations for a log of GitHub Actions: workflow commands, one a line, that show beside the run and the files.

GitHub shows ten errors, ten warnings and ten notices of a step; the last of too many says how many more there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from energydiag.inert import inert
from energydiag.reports.comparison_wording import compared_headline, limit_line, reason_lines, side_lines, side_of
from energydiag.reports.fleet_wording import failed_line, fleet_headline
from energydiag.reports.locations import in_repository
from energydiag.reports.report import Look, Report, Result
from energydiag.reports.wording import (
    alternatives,
    config_line,
    headline,
    question_line,
    repair_headline,
    short,
)
from energydiag.results import Changes, Comparison, Diagnosis, Fleet, Repair
from energydiag.results.changes import WORSE

Level = Literal["error", "warning", "notice"]

MOST = 10
"""Annotations of one level that GitHub shows of one step."""

_LONGEST = 1200
_LEVELS: tuple[Level, ...] = ("error", "warning", "notice")


@dataclass(frozen=True)
class _Note:
    """One annotation; the path of a file may be empty."""

    level: Level
    title: str
    lines: tuple[str, ...]
    path: str = ""


def _render(result: Result, _look: Look) -> str:
    notes = list(_notes(result))
    told = []
    for level in _LEVELS:
        own = [note for note in notes if note.level == level]
        kept = own if len(own) <= MOST else own[: MOST - 1]
        told += [_command(note) for note in kept]
        if len(kept) < len(own):
            more = f"{len(own) - len(kept)} more are in the Markdown, SARIF and JSON results."
            told.append(_command(_Note(level, "energydiag", (more,))))
    return "".join(f"{line}\n" for line in told)


def _command(note: _Note) -> str:
    """The workflow command; everything that ends one of its parts is escaped."""
    properties = {"title": _property(note.title)}
    file = in_repository(note.path)
    if file:
        properties = {"file": _property(file), **properties}
    told = ",".join(f"{name}={value}" for name, value in properties.items())
    return f"::{note.level} {told}::{'%0A'.join(_data(line) for line in note.lines)}"


def _one_line(text: str) -> str:
    line = inert(" ".join(text[: 2 * _LONGEST].split()))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def _data(text: str) -> str:
    return _one_line(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _notes(result: Result) -> Iterable[_Note]:
    """What a config file has set comes first: it may hide findings."""
    told = config_line(result.provenance)
    return (*((_Note("warning", "energydiag config", (told,)),) if told else ()), *_found(result))


def _found(result: Result) -> Iterable[_Note]:
    if isinstance(result, Comparison):
        return _compared_notes(result)
    if isinstance(result, Fleet):
        return _fleet_notes(result)
    return _repair_notes(result) if isinstance(result, Repair) else _diagnosis_notes(result)


def _diagnosis_notes(diagnosis: Diagnosis) -> Iterable[_Note]:
    path = diagnosis.path
    deciding = [question for question in diagnosis.open if question.could_be]
    if not diagnosis.findings and not deciding:
        yield _Note(
            "notice", "energydiag", (f"{headline(diagnosis)} in {path}" if path else headline(diagnosis),), path
        )
    for finding in diagnosis.findings:
        level: Level = "error" if finding.severity == "critical" else "warning"
        behind = [f"Explained by {finding.explained_by}."] if finding.explained_by else []
        fixes = [f"Fix: {alternatives(finding.fixes)}"] if finding.fixes else []
        lines = (finding.summary, *behind, f"Why: {finding.cause}", *fixes)
        yield _Note(level, f"{finding.code} {finding.name}", lines, path)
    for question in deciding:
        yield _Note("warning", "energydiag: open question", (question_line(question),), path)


def _fleet_notes(fleet: Fleet) -> Iterable[_Note]:
    """One annotation a checkpoint that is not healthy, and one over all."""
    level: Level = "notice" if fleet.verdict == "healthy" and not fleet.failed else "warning"
    more = (failed_line(fleet),) if fleet.failed else ()
    yield _Note("error" if fleet.verdict == "critical" else level, "energydiag", (fleet_headline(fleet), *more))
    for row in fleet.rows:
        if row.diagnosis is None:
            yield _Note("warning", "no result", (row.error, f"Next: {row.next_step}"), row.checkpoint)
        elif row.root is not None:
            level = "error" if row.diagnosis.verdict == "critical" else "warning"
            yield _Note(level, f"{row.root.code} {row.root.name}", (row.root.summary,), row.checkpoint)
        elif row.diagnosis.verdict == "undetermined":
            yield _Note("warning", "energydiag: open question", (headline(row.diagnosis),), row.checkpoint)


def _repair_notes(repair: Repair) -> Iterable[_Note]:
    before = repair.arms.get("before")
    path = repair.checkpoint or ("" if before is None else before.path)
    level: Level = "notice" if repair.accepted else "error"
    yield _Note(level, "energydiag repair", (repair_headline(repair), *repair.reasons[:20]), path)
    for side, comparison in (("before", repair.against_before), ("the control", repair.comparison)):
        if comparison is not None:
            yield from _regressions(f"against {side}", comparison, path)


def _regressions(title: str, comparison: Changes, path: str) -> Iterable[_Note]:
    for metric in comparison.metrics:
        if metric.verdict == "regressed":
            values = ", ".join(f"{side} {short(value)}" for side, value in metric.values.items())
            yield _Note(
                "warning", f"{metric.name} {title}", (f"regressed, change {short(metric.delta)}: {values}",), path
            )


def _compared_notes(compared: Comparison) -> Iterable[_Note]:
    """Where limits were set these decide what is an error, else every number that got worse is one."""
    broken = [limit for limit in compared.limits if limit.verdict == "broken"]
    worse: Level = "warning" if compared.limits else "error"
    failed = broken or (not compared.limits and compared.verdict in WORSE)
    counted = tuple(f"{name}: {told}" for name, told in side_lines(compared)[-len(compared.sides) + 1 :][:20])
    yield _Note(
        "error" if failed else "notice",
        "energydiag compare",
        (compared_headline(compared), *reason_lines(compared), *counted),
    )
    for limit in broken:
        yield _Note("error", f"limit of {limit.metric}", (limit_line(limit),))
    for metric in compared.judged:
        if metric.verdict == "regressed":
            values = ", ".join(f"{side} {short(value)}" for side, value in metric.values.items())
            told = f"regressed, change {short(metric.delta)}: {values}"
            yield _Note(worse, f"{metric.name} of {side_of(metric)}", (told,))


REPORT = Report("github", _render)
