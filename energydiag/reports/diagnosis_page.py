"""The page of one diagnosis: the verdict, the cause with its evidence, what to change, then all the numbers."""

from __future__ import annotations

from collections.abc import Iterable

from energydiag.reports.blocks import Page, Section
from energydiag.reports.charts import charts_of
from energydiag.reports.page_parts import (
    figures_section,
    findings_section,
    measurements_section,
    next_section,
    provenance_section,
    questions_section,
    small_print,
    tiles,
    tone,
)
from energydiag.reports.report import Look
from energydiag.reports.wording import (
    about,
    config_line,
    headline,
)
from energydiag.results import Diagnosis


def diagnosis_page(diagnosis: Diagnosis, look: Look) -> Page:
    """The page."""
    vitals = tiles(diagnosis)
    sections = (
        findings_section(diagnosis),
        questions_section(diagnosis),
        next_section(look.next_command),
        Section("vitals", "Key numbers", [vitals]) if vitals else None,
        figures_section(charts_of(diagnosis)),
        small_print(diagnosis.notes, diagnosis.skipped),
        measurements_section(diagnosis.measurements),
        provenance_section(
            diagnosis.provenance, {n.capitalize(): facts.texts() for n, facts in diagnosis.facts().items()}
        ),
    )
    word, _, sentence = headline(diagnosis).partition(": ")
    return Page(
        kind=f"Diagnosis of a {diagnosis.subject}",
        word=word.capitalize(),
        tone=tone(diagnosis.verdict),
        headline=f"{sentence[:1].upper()}{sentence[1:]}",
        reasons=tuple(f"The cause is {f.code} {f.name}. {f.summary}" for f in diagnosis.findings[:1]),
        facts=tuple(_facts(diagnosis)),
        sections=[section for section in sections if section is not None],
        created=diagnosis.created,
        version=diagnosis.energydiag_version,
    )


def _facts(diagnosis: Diagnosis) -> Iterable[tuple[str, str]]:
    if told := config_line(diagnosis.provenance):
        yield "Config", told
    yield from ((label.capitalize(), text) for label, text in about(diagnosis))
