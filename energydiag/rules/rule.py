"""What a rule says of itself."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from energydiag.discovery import discover
from energydiag.results import Measurement, Severity


@dataclass(frozen=True)
class Judgement:
    """A rule's word on one diagnosis.

    Attributes:
        severity: How bad it is.
        summary: One sentence with the numbers.
        cause: Why it happens.
        fixes: Names of repairs, where they are others than the rule's.
    """

    severity: Severity
    summary: str
    cause: str
    fixes: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Threshold:
    """A number that a rule compares with.

    Attributes:
        value: The number.
        source: Where it comes from, or ``"guess"`` and why it was guessed so.
    """

    value: float
    source: str


@dataclass(frozen=True)
class Rule:
    """From a few measurements to at most one finding.

    The module's docstring is the rule's page: what it checks, why that is bad, an example, what to do, known limits.

    Attributes:
        code: ``ED`` and three digits; the first tells the family, and none is ever used again.
        name: Short name in kebab-case.
        needs: Measurements it receives; it is not asked where one is missing.
        evidence: Those of `needs` and `optional` that a finding shows.
        thresholds: What it compares with, by a name of its own.
        judge: From the measurements of `needs`, and those of `optional` that were made, to a judgement, or None where
            all is well.
        explains: Codes of findings that this one, where both are found, is the reason for.
        fixes: Names of repairs, most promising first.
        optional: Measurements that it receives where they were made.
        symptom: Whether it says what is wrong rather than why. Symptoms stand behind findings that name a reason, also
            where none is known to explain the other.
    """

    code: str
    name: str
    needs: tuple[str, ...]
    evidence: tuple[str, ...]
    thresholds: Mapping[str, Threshold]
    judge: Callable[[Mapping[str, Measurement]], Judgement | None]
    explains: tuple[str, ...] = ()
    fixes: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    symptom: bool = False

    @property
    def page(self) -> str:
        """The rule's documentation, from its module."""
        return inspect.cleandoc(sys.modules[self.judge.__module__].__doc__ or "")


RETIRED = {"ED404": "spurious minima: no margin told healthy heads from faulty ones"}
"""Codes of rules that are gone, and why. They may stand in a configuration, and no other rule gets them."""


def rules() -> dict[str, Rule]:
    """All rules by code, in order of the codes.

    Raises:
        ValueError: Two rules have the same code, or one has a retired code.
    """
    by_code: dict[str, Rule] = {}
    for rule in discover("energydiag.rules", "RULE", Rule).values():
        if rule.code in RETIRED:
            raise ValueError(f"rule {rule.name!r} has the code {rule.code}, which belonged to another one")
        if rule.code in by_code:
            raise ValueError(f"rules {by_code[rule.code].name!r} and {rule.name!r} both have the code {rule.code}")
        by_code[rule.code] = rule
    return dict(sorted(by_code.items()))
