"""Measurements to findings, the most probable root cause first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from energydiag.errors import UsageError
from energydiag.metrics import metric
from energydiag.objectives import Objective
from energydiag.results import Finding, Measurement, Open, Skipped, Verdict
from energydiag.results.diagnosis import verdict_of
from energydiag.rules.questions import doubt, failed, few_episodes
from energydiag.rules.rule import RETIRED, Rule, rules


class Judged(NamedTuple):
    """What the rules say.

    Attributes:
        findings: Causes before what they explain, and beyond that critical ones before warnings.
        skipped: Rules that were not evaluated, and why.
        open: Questions that the measurements leave open.
    """

    findings: tuple[Finding, ...]
    skipped: tuple[Skipped, ...]
    open: tuple[Open, ...]

    @property
    def verdict(self) -> Verdict:
        """What follows from the findings and the open questions."""
        return verdict_of(self.findings, self.open)


def judge(
    measurements: Sequence[Measurement],
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    *,
    objective: Objective | None = None,
    unmeasured: Sequence[Skipped] = (),
) -> Judged:
    """Evaluates every rule.

    Args:
        measurements: What was measured.
        select: Codes of rules, or prefixes of codes, to evaluate; empty: all.
        ignore: Codes, or prefixes of codes, to leave out.
        objective: What the model was trained with, where that is known: it decides which rules apply.
        unmeasured: What could not be measured; where that was a failure, the question is open.

    Raises:
        UsageError: ``select`` or ``ignore`` names no rule.
    """
    for code in (*select, *ignore):
        if not any(known.startswith(code) for known in (*rules(), *RETIRED)) or not code.startswith("ED"):
            raise UsageError(f"No rule's code begins with {code!r}.", "list the rules with `energydiag rules`.")
    by_name = {m.name: m for m in measurements}
    chosen, unwanted = tuple(select), tuple(ignore)
    found: list[tuple[Rule, Finding]] = []
    skipped: list[Skipped] = []
    questions: list[Open] = []
    evaluated: list[Rule] = []
    for rule in rules().values():
        reason = _not_evaluated(rule, by_name, chosen, unwanted, objective)
        if reason:
            skipped.append(Skipped(rule.code, reason))
            continue
        evaluated.append(rule)
        given = {name: by_name[name] for name in (*rule.needs, *rule.optional) if name in by_name}
        judgement = rule.judge(given)
        question = doubt(rule, given, judgement)
        if question is not None:
            questions.append(question)
        if judgement is None or any(given[name].unsure for name in rule.needs):
            continue
        evidence = tuple(name for name in rule.evidence if name in by_name)
        finding = Finding(
            code=rule.code,
            name=rule.name,
            severity=judgement.severity,
            summary=judgement.summary,
            evidence=evidence,
            cause=judgement.cause,
            fixes=rule.fixes if judgement.fixes is None else judgement.fixes,
            healthy={name: metric(name).healthy for name in evidence if metric(name).healthy},
        )
        found.append((rule, finding))
    wanted = [rule for rule in rules().values() if not _left_out(rule, chosen, unwanted)]
    read = {name for rule in evaluated for name in rule.needs}
    unsure = [m for m in measurements if m.unsure and m.name in read]
    questions += [*few_episodes(unsure, questions), *failed(unmeasured, wanted)]
    return Judged(_root_cause_first(found), tuple(skipped), tuple(questions))


def _left_out(rule: Rule, select: tuple[str, ...], ignore: tuple[str, ...]) -> bool:
    return bool((select and not rule.code.startswith(select)) or (ignore and rule.code.startswith(ignore)))


def _not_evaluated(
    rule: Rule,
    by_name: Mapping[str, Measurement],
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    objective: Objective | None,
) -> str:
    """Why a rule is not evaluated; empty where it is."""
    if _left_out(rule, select, ignore):
        return "left out by --select or --ignore"
    if objective is not None and rule.code in objective.not_asked:
        return f"does not apply to {objective.title}: {objective.not_asked[rule.code]}"
    missing = [name for name in rule.needs if name not in by_name]
    return f"{missing[0]} was not measured" if missing else ""


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
