"""The page of several checkpoints: one row each, what is wrong with which, and how the numbers change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from energydiag.reports.blocks import Block, Card, Cell, Fold, Page, Section, Words
from energydiag.reports.charts import charts_of
from energydiag.reports.fleet_wording import (
    batch_line,
    failed_line,
    fleet_headline,
    fleet_identity,
    labels,
    listed,
    numbers,
    reasons,
    root_findings,
    shown_numbers,
    step_text,
)
from energydiag.reports.page_parts import bullets, figures_section, next_section, provenance_section, table, tone
from energydiag.reports.report import Look
from energydiag.reports.wording import config_line
from energydiag.results import Fleet, Inspected

_MOST_FOLDS = 200
_ROOM = 300_000
"""Characters of the table: some 500 checkpoints."""


def fleet_page(fleet: Fleet, look: Look) -> Page:
    """The page."""
    names = dict(zip((row.checkpoint for row in fleet.rows), labels(fleet.rows), strict=True))
    sections = (
        _table(fleet, names),
        _findings(fleet, names),
        _failed(fleet, names),
        next_section(look.next_command),
        figures_section(charts_of(fleet)),
        _each(fleet, names),
        provenance_section(fleet.provenance, {"Batch": fleet.batch.texts()}),
    )
    word, _, sentence = fleet_headline(fleet).partition(": ")
    known = {
        "CRITICAL": "critical",
        "WARNING": "warning",
        "UNDETERMINED": "undetermined",
        "HEALTHY": "healthy",
        "UNKNOWN": "no result",
    }
    return Page(
        kind="Several checkpoints",
        word=word.capitalize(),
        tone=tone(known.get(word, "")),
        headline=f"{sentence[:1].upper()}{sentence[1:]}",
        reasons=(f"{failed_line(fleet)}.",) if fleet.failed else (),
        facts=tuple(_facts(fleet)),
        sections=[section for section in sections if section is not None],
        created=fleet.created,
        version=fleet.energydiag_version,
    )


def _facts(fleet: Fleet) -> Iterable[tuple[str, str]]:
    if told := config_line(fleet.provenance):
        yield "Config", told
    yield "Batch", batch_line(fleet)
    if told := fleet_identity(fleet):
        yield "Identity", told
    counted = Counter("no result" if row.diagnosis is None else row.diagnosis.verdict for row in fleet.rows)
    order = ("critical", "undetermined", "warning", "healthy", "no result")
    yield "Verdicts", ", ".join(f"{counted[verdict]} {verdict}" for verdict in order if counted[verdict])


def _table(fleet: Fleet, names: dict[str, str]) -> Section | None:
    if not fleet.rows:
        return None
    shown = shown_numbers(fleet)
    rows = [_row(row, names[row.checkpoint], shown) for row in fleet.rows]
    columns = ("checkpoint", "step", "verdict", "first finding", *shown)
    listed_ = table("Checkpoints", columns, rows, numbers=(1, *range(4, 4 + len(shown))), room=_ROOM)
    return Section("checkpoints", "Checkpoints", [listed_])


def _row(row: Inspected, name: str, shown: Iterable[str]) -> Sequence[str | Cell]:
    verdict = "no result" if row.diagnosis is None else row.diagnosis.verdict
    first = "" if row.root is None else f"{row.root.code} {row.root.name}"
    return [
        Cell(name, code=True),
        step_text(row),
        Cell(verdict, badge=tone(verdict)),
        Cell(first, whole=True),
        *numbers(row, shown),
    ]


def _findings(fleet: Fleet, names: dict[str, str]) -> Section | None:
    cards = []
    for finding, rows in root_findings(fleet).values():
        where = listed([names[row.checkpoint] for row in rows])
        inside: tuple[Block, ...] = (
            Words(f"{len(rows)} of {len(fleet.diagnosed)}: {where}", "Comes first in"),
            Words(finding.summary, f"{names[rows[0].checkpoint]}:"),
            Words(finding.cause, "Why"),
        )
        cards.append(Card(finding.name, finding.code, "", finding.severity, tone(finding.severity), inside))
    return Section("findings", "What is wrong", cards[:50]) if cards else None


def _failed(fleet: Fleet, names: dict[str, str]) -> Section | None:
    items = [
        (listed([names[row.checkpoint] for row in rows]), f"{error} Next: {next_step}")
        for (error, next_step), rows in reasons(fleet).items()
    ]
    return Section("failed", "No result", [bullets(items)]) if items else None


def _each(fleet: Fleet, names: dict[str, str]) -> Section | None:
    folds: list[Block] = []
    for row in fleet.diagnosed[:_MOST_FOLDS]:
        if row.diagnosis is None:
            continue
        found = row.diagnosis.findings[:40]
        inside: tuple[Block, ...] = (bullets((f"{f.code} {f.name}", f"{f.severity}. {f.summary}") for f in found),)
        verdict = row.diagnosis.verdict
        folds.append(
            Fold(names[row.checkpoint], inside if found else (Words("No fault found."),), verdict, tone(verdict))
        )
    rest = len(fleet.diagnosed) - len(folds)
    if rest > 0:
        folds.append(Words(f"{rest} more are in the JSON result."))
    return Section("each", "Each checkpoint", folds) if folds else None
