"""The result as test cases, which build servers show beside the other tests.

A finding is a test case: a critical one fails, a warning passes and is in its output. What could not be measured is
skipped, as are open questions and a verdict that they leave undetermined. A repair is one test case, and so is every
number that it is judged on, against the original and against the control. Of several checkpoints each is one test case,
which fails where it is critical or has no result. Of a comparison each number and each limit is one, as is a side
whose verdict its numbers alone do not make. ``--fail-on`` changes nothing here; it decides the exit code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

from energydiag.inert import inert
from energydiag.reports.comparison_wording import compared_headline, first_name, limit_line, side_of, ups_and_downs
from energydiag.reports.fleet_wording import labels
from energydiag.reports.report import Look, Report, Result
from energydiag.reports.wording import (
    alternatives,
    amount,
    config_line,
    headline,
    interval,
    question_line,
    repair_headline,
    short,
)
from energydiag.results import Changes, Comparison, Diagnosis, Finding, Fleet, Measurement, MetricChange, Repair
from energydiag.results.changes import WORSE


@dataclass(frozen=True)
class _Case:
    """A test case.

    Attributes:
        group: What it belongs to.
        name: Its name.
        outcome: What became of it.
        kind: Of the failure.
        message: The failure, or why it was skipped, in one line.
        lines: The details, or what a test that passed has to say.
    """

    group: str
    name: str
    outcome: Literal["passed", "failure", "skipped"] = "passed"
    kind: str = ""
    message: str = ""
    lines: Sequence[str] = ()


def _render(result: Result, _look: Look) -> str:
    cases = list(_cases(result))
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(case.outcome == "failure" for case in cases)),
        "errors": "0",
        "skipped": str(sum(case.outcome == "skipped" for case in cases)),
        "time": "0",  # a result does not say how long it took
    }
    top = ElementTree.Element("testsuites", {"name": "energydiag", **counts})
    written = re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", result.created, re.ASCII)  # the schema has no time zone
    suite = ElementTree.SubElement(
        top, "testsuite", {"name": _suite(result), **counts, **({"timestamp": written[0]} if written else {})}
    )
    for case in cases:
        _add(suite, case)
    ElementTree.indent(top)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(top, encoding="unicode")}\n'


def _cases(result: Result) -> Iterable[_Case]:
    """What a config file has set comes first: it may hide findings."""
    told = config_line(result.provenance)
    return (*((_Case("config", told),) if told else ()), *_found(result))


def _found(result: Result) -> Iterable[_Case]:
    if isinstance(result, Comparison):
        return _compared_cases(result)
    if isinstance(result, Fleet):
        return _fleet_cases(result)
    return _repair_cases(result) if isinstance(result, Repair) else _diagnosis_cases(result)


def _suite(result: Result) -> str:
    if isinstance(result, Comparison):
        path = first_name(result)
    elif isinstance(result, Fleet):
        path = result.batch.path
    elif isinstance(result, Repair):
        path = result.checkpoint
    else:
        path = result.path
    return _legal(f"{result.kind} {path}".rstrip())


def _fleet_cases(fleet: Fleet) -> Iterable[_Case]:
    for row, name in zip(fleet.rows, labels(fleet.rows), strict=True):
        if row.diagnosis is None:
            yield _Case("fleet", name, "failure", "no-result", row.error, (f"Next: {row.next_step}",))
            continue
        told = tuple(f"{f.severity}: {f.code} {f.name}: {f.summary}" for f in row.diagnosis.findings)
        if row.root is not None and row.diagnosis.verdict == "critical":
            yield _Case("fleet", name, "failure", row.root.code, row.root.summary, told)
        elif row.diagnosis.verdict == "undetermined":
            yield _Case("fleet", name, "skipped", message=headline(row.diagnosis))
        else:
            yield _Case("fleet", name, lines=told)


def _add(suite: ElementTree.Element, case: _Case) -> None:
    names = {"classname": f"energydiag.{case.group}", "name": _legal(case.name), "time": "0"}
    element = ElementTree.SubElement(suite, "testcase", names)
    text = "\n".join(_legal(line) for line in case.lines)
    if case.outcome == "failure":
        told = {"type": _legal(case.kind), "message": _legal(case.message)}
        ElementTree.SubElement(element, "failure", told).text = text
    elif case.outcome == "skipped":
        ElementTree.SubElement(element, "skipped", {"message": _legal(case.message)})
    elif text:
        ElementTree.SubElement(element, "system-out").text = text


def _legal(text: str) -> str:
    """The text on one line, with nothing that XML 1.0 forbids: control characters, surrogates, non-characters."""
    return inert(" ".join(text.split()))


def _diagnosis_cases(diagnosis: Diagnosis) -> Iterable[_Case]:
    if diagnosis.verdict == "undetermined":
        yield _Case("diagnosis", "verdict", "skipped", message=headline(diagnosis))
    elif not diagnosis.findings:
        yield _Case("diagnosis", headline(diagnosis))
    by_name = {m.name: m for m in diagnosis.measurements}
    for finding in diagnosis.findings:
        name = f"{finding.code} {finding.name}"
        lines = _told(finding, [by_name[name] for name in finding.evidence if name in by_name])
        if finding.severity == "critical":
            yield _Case("diagnosis", name, "failure", finding.code, finding.summary, lines)
        else:
            yield _Case("diagnosis", name, lines=(f"{finding.severity}: {finding.summary}", *lines))
    for question in diagnosis.open:
        yield _Case("diagnosis", question.question, "skipped", message=question_line(question))
    for skipped in diagnosis.skipped:
        yield _Case("diagnosis", skipped.name, "skipped", message=skipped.reason)


def _told(finding: Finding, evidence: Iterable[Measurement]) -> tuple[str, ...]:
    return (
        *([f"Explained by {finding.explained_by}."] if finding.explained_by else []),
        f"Why: {finding.cause}",
        *(f"{m.name} = {amount(m)}{_in_brackets(m)}, n = {m.n}" for m in evidence),
        *([f"Fix: {alternatives(finding.fixes)}"] if finding.fixes else []),
    )


def _repair_cases(repair: Repair) -> Iterable[_Case]:
    headline = repair_headline(repair)
    if repair.accepted:
        yield _Case("repair", "repair", lines=(headline, *repair.reasons))
    else:
        message = " ".join((f"{headline}.", *repair.reasons))
        yield _Case("repair", "repair", "failure", repair.verdict, message, repair.reasons)
    for side, comparison in (("before", repair.against_before), ("control", repair.comparison)):
        if comparison is not None:
            yield from _metric_cases(f"repair.against_{side}", comparison)


def _metric_cases(group: str, comparison: Changes) -> Iterable[_Case]:
    for metric in comparison.metrics:
        values = ", ".join(f"{side} {short(value)}" for side, value in metric.values.items())
        told = f"{metric.verdict}: change {short(metric.delta)}{_in_brackets(metric)}; {values}"
        if metric.verdict == "regressed":
            yield _Case(group, metric.name, "failure", metric.verdict, told)
        else:
            yield _Case(group, metric.name, lines=(told,))


def _compared_cases(compared: Comparison) -> Iterable[_Case]:
    """Every number that the verdict rests on, by side, and every limit."""
    for whole in (compared.outcome(side.name) for side in compared.sides[1:]):
        name = f"{whole.side} as a whole"
        if whole.reason and whole.verdict in WORSE:
            yield _Case("compare", name, "failure", whole.verdict, whole.reason)
        elif told := whole.reason or (ups_and_downs(compared, whole.side) if whole.verdict == "mixed" else ""):
            yield _Case("compare", name, lines=(f"{whole.verdict}: {told}",))
    if not compared.judged:
        yield _Case("compare", compared_headline(compared))
    for metric in compared.judged:
        values = ", ".join(f"{side} {short(value)}" for side, value in metric.values.items())
        told = f"{metric.verdict}: change {short(metric.delta)}{_in_brackets(metric)}; {values}"
        lines = (told, *([metric.reason] if metric.reason else []))
        name = f"{metric.name} of {side_of(metric)}" if len(compared.sides) > 2 else metric.name
        if metric.verdict == "regressed":
            yield _Case("compare", name, "failure", metric.verdict, told, lines[1:])
        else:
            yield _Case("compare", name, lines=lines)
    for limit in compared.limits:
        told, name = limit_line(limit), f"{limit.metric} of {limit.side}"
        if limit.verdict == "broken":
            yield _Case("compare.limits", name, "failure", "limit", told)
        else:
            yield _Case("compare.limits", name, lines=(told,))
    for skipped in compared.skipped:
        yield _Case("compare", skipped.name, "skipped", message=skipped.reason)


def _in_brackets(number: Measurement | MetricChange) -> str:
    return f" (95 % interval {interval(number)})" if number.ci95 else ""


REPORT = Report("junit", _render)
