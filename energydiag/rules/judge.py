"""Measurements to findings, the most probable root cause first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from energydiag.errors import UsageError
from energydiag.metrics import metric
from energydiag.results import Finding, Measurement, Skipped, Verdict
from energydiag.rules.rule import RETIRED, Judgement, Rule, rules


class Judged(NamedTuple):
    """What the rules say.

    Attributes:
        findings: Causes before what they explain, and beyond that critical ones before warnings.
        skipped: Rules that could not be asked, and why.
        inconclusive: Rules that the samples are too few to answer.
    """

    findings: tuple[Finding, ...]
    skipped: tuple[Skipped, ...]
    inconclusive: tuple[Skipped, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst severity among the findings."""
        severities = {finding.severity for finding in self.findings}
        return "critical" if "critical" in severities else "warning" if severities else "healthy"


def judge(measurements: Sequence[Measurement], select: Sequence[str] = (), ignore: Sequence[str] = ()) -> Judged:
    """Asks every rule.

    Args:
        measurements: What was measured.
        select: Codes or beginnings of codes to ask; empty: all.
        ignore: Codes or beginnings of codes not to ask.

    Raises:
        UsageError: ``select`` or ``ignore`` names no rule.
    """
    for code in (*select, *ignore):
        if not any(known.startswith(code) for known in (*rules(), *RETIRED)) or not code.startswith("ED"):
            raise UsageError(f"No rule's code begins with {code!r}.", "list the rules with `energydiag rules`.")
    by_name = {m.name: m for m in measurements}
    chosen, unwanted = tuple(select), tuple(ignore)
    found: list[tuple[Rule, Finding]] = []
    skipped, inconclusive = [], []
    for rule in rules().values():
        if (chosen and not rule.code.startswith(chosen)) or (unwanted and rule.code.startswith(unwanted)):
            skipped.append(Skipped(rule.code, "left out by --select or --ignore"))
            continue
        missing = [name for name in rule.needs if name not in by_name]
        if missing:
            skipped.append(Skipped(rule.code, f"{missing[0]} was not measured"))
            continue
        given = {name: by_name[name] for name in (*rule.needs, *rule.optional) if name in by_name}
        judgement = rule.judge(given)
        doubt = _doubt(rule, given, judgement)
        if doubt:
            inconclusive.append(Skipped(rule.code, doubt))
        if judgement is None or doubt:
            continue
        evidence = tuple(name for name in rule.evidence if name in by_name)
        finding = Finding(
            code=rule.code,
            name=rule.name,
            severity=judgement.severity,
            summary=judgement.summary,
            evidence=evidence,
            cause=judgement.cause,
            fixes=rule.fixes,
            healthy={name: metric(name).healthy for name in evidence if metric(name).healthy},
        )
        found.append((rule, finding))
    return Judged(_root_cause_first(found), tuple(skipped), tuple(inconclusive))


def _doubt(rule: Rule, given: Mapping[str, Measurement], judgement: Judgement | None) -> str:
    """Why the samples are too few for this rule, or an empty text where they are enough."""
    if judgement is not None:
        unsure = [name for name in rule.needs if given[name].unsure]
        few = f"{unsure[0]} is an average over too few episodes for an interval" if unsure else ""
        return f"{few}; as it is it says: {judgement.summary}" if few else ""
    as_it_is = rule.judge({name: replace(m, ci95=None) for name, m in given.items()})
    if as_it_is is None:
        return ""
    return f"the interval reaches what is healthy; the number alone says: {as_it_is.summary}"


def _root_cause_first(found: Sequence[tuple[Rule, Finding]]) -> tuple[Finding, ...]:
    """Every finding behind those that explain it; beyond that a critical one always stands before a warning.

    So a warning stands before a critical finding only where it explains that one, or one that has to come before it.
    Among equals: what nothing explains, reasons before symptoms, and what explains more before what explains less.
    """
    rules_found = {rule.code: rule for rule, _ in found}
    findings = {rule.code: finding for rule, finding in found}
    explained = {code: [c for c in rule.explains if c in findings and c != code] for code, rule in rules_found.items()}
    explained_by = {c: code for code in reversed(explained) for c in explained[code]}
    ordered: list[str] = []
    left = set(findings)
    while left:
        waiting = {c for code in left for c in explained[code]}
        urgent = _before(explained, {code for code in left if findings[code].severity == "critical"})

        def order(code: str, urgent: frozenset[str] = urgent) -> tuple[bool, bool, bool, bool, int, str]:
            critical = findings[code].severity == "critical"
            behind = code in explained_by
            return (not critical, code not in urgent, behind, rules_found[code].symptom, -len(explained[code]), code)

        first = min(left - waiting or left, key=order)
        ordered.append(first)
        left.remove(first)
    return tuple(
        replace(findings[code], explained_by=_root(code, explained_by) if code in explained_by else None)
        for code in ordered
    )


def _before(explained: Mapping[str, Sequence[str]], codes: set[str]) -> frozenset[str]:
    """These codes, and all that explain one of them, be it by way of others."""
    found = set(codes)
    while more := {code for code, behind in explained.items() if found.intersection(behind)} - found:
        found |= more
    return frozenset(found)


def _root(code: str, explained_by: dict[str, str]) -> str:
    """The end of the chain of explanations that begins at this code; a circle ends where it closes."""
    seen = {code}
    while code in explained_by and explained_by[code] not in seen:
        code = explained_by[code]
        seen.add(code)
    return code
