"""The page of a comparison: better or worse, in which numbers, the curves, and what else differs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from energydiag.reports.blocks import Block, Bullets, Cell, Page, Section, Table
from energydiag.reports.charts import compared_charts
from energydiag.reports.comparison_wording import (
    at_line,
    change_cells,
    change_columns,
    compared_headline,
    elsewhere,
    energy_lines,
    limit_line,
    ranked,
    reason_lines,
    side_lines,
)
from energydiag.reports.page_parts import (
    bullets,
    figures_section,
    next_section,
    provenance_section,
    small_print,
    table,
    tone,
)
from energydiag.reports.report import Look
from energydiag.results import Comparison, MetricChange

_NUMBERS = ("first", "other", "change", "p")
_ORDER = ("metric", "at", "side", "verdict", "change", "95 % interval", "p", "first", "other", "better", "why")
"""Of the columns: what a phone shows without scrolling comes first."""

_LIMITS = {"kept": "improved", "broken": "regressed", "unclear": "inconclusive"}


def comparison_page(compared: Comparison, look: Look) -> Page:
    """The page."""
    sections = (
        _limits(compared),
        _judged(compared),
        next_section(look.next_command),
        figures_section(compared_charts(compared)),
        _rankings(compared),
        _differences(compared),
        _elsewhere(compared),
        small_print(compared.notes, compared.skipped, "Not compared"),
        provenance_section(compared.provenance, {side.name: side.facts for side in compared.sides}),
    )
    _, _, told = compared_headline(compared).partition(": ")
    return Page(
        kind=f"Comparison of {compared.subject}",
        word=compared.verdict.capitalize(),
        tone=tone(compared.verdict),
        headline=told[:1].upper() + told[1:] if compared.verdict in ("inconclusive", "mixed") else told,
        reasons=(*reason_lines(compared), *energy_lines(compared)),
        facts=tuple(side_lines(compared)[:40]),
        sections=[section for section in sections if section is not None],
        created=compared.created,
        version=compared.energydiag_version,
    )


def _changes(caption: str, compared: Comparison, metrics: Sequence[MetricChange]) -> Table:
    columns = sorted(change_columns(compared, metrics), key=_ORDER.index)
    rows = [list(_cells(metric, columns)) for metric in metrics]
    return table(caption, columns, rows, [place for place, column in enumerate(columns) if column in _NUMBERS])


def _cells(metric: MetricChange, columns: Sequence[str]) -> Iterable[str | Cell]:
    for column, text in zip(columns, change_cells(metric, columns), strict=True):
        if column == "verdict":
            yield Cell(text, badge=tone(text))
        else:
            yield Cell(text, code=column == "metric", whole=column == "95 % interval")


def _judged(compared: Comparison) -> Section | None:
    if not compared.judged:
        return None
    lead = "The change is the other less the first. It counts where it is as large as what matters and hardly chance."
    return Section("changes", at_line(compared), [_changes("Changes", compared, compared.judged)], lead)


def _limits(compared: Comparison) -> Section | None:
    rows: list[list[str | Cell]] = [
        [Cell(one.metric, code=True), limit_line(one), Cell(one.verdict, badge=tone(_LIMITS[one.verdict]))]
        for one in compared.limits
    ]
    if not rows:
        return None
    return Section("limits", "Limits", [table("Regressions that were allowed", ("metric", "what came", "limit"), rows)])


def _rankings(compared: Comparison) -> Section | None:
    if not compared.rankings:
        return None
    told: Bullets = bullets((one.name, f"{one.at} {ranked(one)}".strip()) for one in compared.rankings)
    return Section("rankings", "Best first", [told])


def _differences(compared: Comparison) -> Section | None:
    names = [side.name for side in compared.sides]
    rows: list[list[str | Cell]] = [
        [Cell(one.name, code=True), *(one.values.get(name, "") for name in names)] for one in compared.differences
    ]
    if not rows:
        return None
    return Section("settings", "Settings", [table("Settings that differ", ("setting", *names), rows)])


def _elsewhere(compared: Comparison) -> Section | None:
    others = elsewhere(compared)
    blocks: list[Block] = [_changes("Changes elsewhere in the runs", compared, others)] if others else []
    return Section("elsewhere", "Elsewhere", blocks) if blocks else None
