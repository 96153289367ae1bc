"""The result as SARIF 2.1.0, which code scanning reads: a rule and a result for each finding.

A critical finding is an error, a warning a warning, and so is an open question that could change the verdict. Other
open questions, and checkpoints that could not be measured, are notifications of the run. A checkpoint has no lines;
line 1 is named, since viewers need one.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal
from urllib.parse import quote

from energydiag.inert import escaped, inert
from energydiag.reports.comparison_wording import limit_line, side_of
from energydiag.reports.locations import in_repository
from energydiag.reports.report import Look, Report, Result
from energydiag.reports.wording import alternatives, amount, interval, question_line, repair_headline, short
from energydiag.results import (
    BatchFacts,
    CheckpointFacts,
    Comparison,
    Diagnosis,
    Finding,
    Fleet,
    MetricChange,
    Repair,
    RunFacts,
    Skipped,
    codec,
)
from energydiag.results.changes import WORSE

Level = Literal["error", "warning", "note", "none"]

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

_LONGEST = 2000
_MOST_RESULTS = 5000
"""Code scanning takes 25,000 results of a run, and shows 5,000."""

_DEEPEST = 8


@dataclass(frozen=True)
class _Rule:
    """What a code stands for."""

    code: str
    name: str
    level: Level
    why: str
    what_to_do: str


@dataclass(frozen=True)
class _Hit:
    """A rule that was broken, and the file that broke it."""

    rule: _Rule
    level: Level
    message: str
    path: str
    properties: Mapping[str, Any]


@dataclass(frozen=True)
class _Notice:
    """Something that the run has to say beside its results."""

    level: Level
    message: str
    path: str = ""


def _render(result: Result, _look: Look) -> str:
    hits, notices = _all(result)
    hits = hits[:_MOST_RESULTS]
    by_code: dict[str, _Rule] = {}
    for hit in hits:
        by_code.setdefault(hit.rule.code, hit.rule)
    rules = list(by_code.values())
    places = {code: place for place, code in enumerate(by_code)}
    driver: dict[str, Any] = {"name": "energydiag", "rules": [_described(rule) for rule in rules]}
    if re.fullmatch(r"\d+(\.\d+)*\S{0,40}", result.energydiag_version, re.ASCII):
        driver["version"] = inert(result.energydiag_version)
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"energydiag/{result.kind}/"},
        "invocations": [_invocation(result, notices)],
        "columnKind": "unicodeCodePoints",
        "results": [_result(hit, places[hit.rule.code]) for hit in hits],
        "properties": {
            "kind": result.kind,
            "verdict": result.verdict,
            "created": result.created,
            "provenance": _plain(result.provenance),
            **_inputs(result),
        },
    }
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return escaped(json.dumps(log, indent=2, ensure_ascii=False, allow_nan=False)) + "\n"


def _all(result: Result) -> tuple[list[_Hit], list[_Notice]]:
    if isinstance(result, Fleet):
        found = [hit for row in result.diagnosed if row.diagnosis for hit in _hits(row.diagnosis, row.checkpoint)]
        failed = [_Notice("error", f"{row.error} Next: {row.next_step}", row.checkpoint) for row in result.failed]
        return found, failed
    if isinstance(result, Repair):
        return _repair_hits(result)
    if isinstance(result, Comparison):
        return _compared_hits(result)
    path = result.path
    minor = [_Notice("note", question_line(one), path) for one in result.open if one.could_be is None]
    return list(_hits(result, path)), [*minor, *_not_done(result.skipped, path, "none")]


def _not_done(skipped: Iterable[Skipped], path: str, level: Level) -> Iterable[_Notice]:
    return (_Notice(level, f"{one.name}: {one.reason}", path) for one in skipped)


def _hits(diagnosis: Diagnosis, path: str) -> Iterable[_Hit]:
    by_name = {m.name: m for m in diagnosis.measurements}
    for finding in diagnosis.findings:
        rule = _Rule(finding.code, finding.name, _level(finding), finding.cause, alternatives(finding.fixes))
        evidence = {
            name: f"{amount(by_name[name])}{f', 95 % interval {interval(by_name[name])}' if by_name[name].ci95 else ''}"
            for name in finding.evidence
            if name in by_name
        }
        behind = f" Explained by {finding.explained_by}." if finding.explained_by else ""
        properties = {"evidence": evidence, "fixes": list(finding.fixes), "explainedBy": finding.explained_by or ""}
        yield _Hit(rule, rule.level, f"{finding.summary}{behind} Why: {finding.cause}", path, properties)
    for one in diagnosis.open:
        if one.could_be is not None:
            yield _Hit(
                _OPEN, "warning", question_line(one), path, {"couldBe": one.could_be, "measurement": one.question}
            )


_OPEN = _Rule("undetermined", "open-question", "warning", "A question that could change the verdict has no answer.", "")


def _level(finding: Finding) -> Level:
    return "error" if finding.severity == "critical" else "warning"


def _repair_hits(repair: Repair) -> tuple[list[_Hit], list[_Notice]]:
    """Whether it counts, every number that got worse, and what is still found afterwards."""
    before, after = repair.arms.get("before"), repair.arms.get("after")
    source = "" if before is None else before.path
    path = repair.checkpoint or source
    hits = []
    if not repair.accepted:
        told = " ".join((f"{repair_headline(repair)}.", *repair.reasons))
        rule = _Rule("repair", "repair-does-not-count", "error", "Before, control and after are compared.", "")
        hits.append(_Hit(rule, "error", told, path, {"verdict": repair.verdict}))
    for side, comparison in (("before", repair.against_before), ("control", repair.comparison)):
        if comparison is not None:
            hits += _regressions(f"against {side}", comparison.metrics, path)
    if after is not None:
        hits += _hits(after, path)
    return hits, list(_not_done(repair.skipped, path, "none"))


def _compared_hits(compared: Comparison) -> tuple[list[_Hit], list[_Notice]]:
    """Every number that got worse, and every limit that was broken, at the side's first file."""
    paths = {side.name: side.paths[0] for side in compared.sides if side.paths}
    hits: list[_Hit] = []
    for side in compared.sides[1:]:
        own = [m for m in compared.judged if side_of(m) == side.name]
        level: Level = "warning" if compared.limits else "error"
        whole = compared.outcome(side.name)
        if whole.reason and whole.verdict in WORSE:
            rule = _Rule("broken-run", "run-is-broken", "error", "A broken run is worse than a sound one.", "")
            hits.append(_Hit(rule, "error", whole.reason, paths.get(side.name, ""), {"against": side.name}))
        hits += _regressions(f"of {side.name}", own, paths.get(side.name, ""), level)
    for limit in compared.limits:
        if limit.verdict == "broken":
            rule = _Rule("limit", "limit-broken", "error", "--max-regression allowed less.", "")
            told = f"{limit.metric} {limit_line(limit)}"
            path = paths.get(limit.side, "")
            hits.append(_Hit(rule, "error", told, path, {"measurement": limit.metric, "against": limit.side}))
    return hits, list(_not_done(compared.skipped, "", "none"))


def _regressions(title: str, metrics: Iterable[MetricChange], path: str, level: Level = "warning") -> Iterable[_Hit]:
    """Numbers that got worse, one result each."""
    for m in metrics:
        if m.verdict == "regressed":
            values = ", ".join(f"{side} {short(value)}" for side, value in m.values.items())
            told = (
                f"{m.name} {title} regressed: change {short(m.delta)}{f' ({interval(m)})' if m.ci95 else ''}; {values}."
            )
            rule = _Rule("regression", "number-got-worse", level, "A number is worse than it was.", "")
            yield _Hit(rule, level, told, path, {"measurement": m.name, "against": title})


def _described(rule: _Rule) -> dict[str, Any]:
    page = f"energydiag rules {rule.code} explains it." if rule.code.startswith("ED") else ""
    todo = f"What to change: {rule.what_to_do}." if rule.what_to_do else ""
    return {
        "id": _text(rule.code)[:80],
        "name": _text(rule.name)[:200],
        "shortDescription": {"text": _text(rule.name.replace("-", " ")) or "finding"},
        "fullDescription": {"text": _text(rule.why) or "finding"},
        "help": {"text": _text(" ".join(part for part in (rule.why, todo, page) if part)) or "finding"},
        "defaultConfiguration": {"level": rule.level},
    }


def _result(hit: _Hit, place: int) -> dict[str, Any]:
    uri = _uri(hit.path)
    seen = "\n".join(
        (
            hit.rule.code,
            uri.get("uri", ""),
            str(hit.properties.get("measurement", "")),
            str(hit.properties.get("against", "")),
        )
    )
    mark = hashlib.sha256(seen.encode("utf-8", "replace")).hexdigest()[:32]
    result: dict[str, Any] = {
        "ruleId": _text(hit.rule.code)[:80],
        "ruleIndex": place,
        "level": hit.level,
        "message": {"text": _message(hit.message)},
        "locations": _locations(hit.path),
        "partialFingerprints": {"energydiagFinding/v1": mark, "primaryLocationLineHash": f"{mark[:16]}:1"},
    }
    return {**result, "properties": _plain(hit.properties)} if hit.properties else result


def _locations(path: str) -> list[dict[str, Any]]:
    uri = _uri(path)
    return [{"physicalLocation": {"artifactLocation": uri, "region": {"startLine": 1}}}] if uri else []


def _uri(path: str) -> dict[str, str]:
    """Relative to the repository where the file lies in it."""
    inside = in_repository(path)
    if inside:
        return {"uri": _quoted(inside), "uriBaseId": "%SRCROOT%"}
    if not path:
        return {}
    known = PurePath(path)
    return {"uri": f"file://{_quoted(known.as_posix())}" if known.is_absolute() else _quoted(known.as_posix())}


def _quoted(path: str) -> str:
    return quote(path[:4000].encode("utf-8", "replace"), safe="/-._~")


def _invocation(result: Result, notices: Sequence[_Notice]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "executionSuccessful": not any(notice.level == "error" for notice in notices),
        "toolExecutionNotifications": [
            {"level": one.level, "message": {"text": _message(one.message)}, "locations": _locations(one.path)}
            for one in notices[:_MOST_RESULTS]
        ],
    }
    command = result.provenance.get("command")
    if isinstance(command, list | tuple) and command:
        told["commandLine"] = _text(" ".join(map(str, command)))
    written = re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", result.created, re.ASCII)
    if written:
        told["endTimeUtc"] = f"{written[0]}Z"
    return told


def _inputs(result: Result) -> dict[str, Any]:
    if isinstance(result, Diagnosis):
        return {name: _known(facts) for name, facts in result.facts().items()}
    return {"batch": _known(result.batch)} if isinstance(result, Fleet) else {}


def _known(facts: CheckpointFacts | BatchFacts | RunFacts) -> Any:
    return _plain({name: value for name, value in codec.plain(facts).items() if value})


def _text(text: str) -> str:
    line = inert(" ".join(text[: 2 * _LONGEST].split()))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def _message(text: str) -> str:
    """Text in which brackets make no link and braces are no placeholders, as the standard has them escaped."""
    line = re.sub(r"([\\\[\]])", r"\\\1", _text(text)).replace("{", "{{").replace("}", "}}")
    return line or "finding"


def _plain(value: Any, deep: int = _DEEPEST) -> Any:
    """What JSON holds, with text made inert and no numbers that are none."""
    if isinstance(value, Mapping):
        return {_text(str(key)): _plain(inner, deep - 1) for key, inner in value.items()} if deep else {}
    if isinstance(value, list | tuple):
        return [_plain(inner, deep - 1) for inner in value] if deep else []
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, bool | int | float) else _text(str(value))


REPORT = Report("sarif", _render)
