"""Blocks that pages of several kinds share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from energydiag import metrics
from energydiag.metrics import grouped
from energydiag.reports.blocks import (
    Block,
    Bullets,
    Card,
    Cell,
    Command,
    Facts,
    Figure,
    Figures,
    Fold,
    Section,
    Table,
    Tile,
    Tiles,
    Tone,
    Words,
)
from energydiag.reports.chart import Chart, drawn, gauge
from energydiag.reports.wording import amount, interval, short
from energydiag.results import Changes, Diagnosis, Finding, Measurement, Skipped

_MOST_BYTES = 120_000
"""Characters of the cells of one table, so that a long one does not push everything else out."""

_MOST_FIGURES = 16
_MOST_ITEMS = 200
_INTERVAL = "95 % interval"

TONES: Mapping[str, Tone] = {
    **{"healthy": "good", "warning": "warn", "critical": "bad", "undetermined": "warn", "no result": "bad"},
    **{"improved": "good", "healed": "good", "regressed": "bad", "harmed": "bad", "diverged": "bad"},
    **{"not-improved": "warn", "mixed": "warn", "inconclusive": "warn", "incomparable": "warn", "unchanged": "plain"},
}
"""How good or bad a verdict is; others are neither."""


def tone(verdict: str) -> Tone:
    """How good or bad a verdict is."""
    return TONES.get(verdict, "plain")


def table(
    caption: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str | Cell]],
    numbers: Sequence[int] = (),
    room: int = _MOST_BYTES,
) -> Table:
    """A table; rows that would make it too long are counted instead."""
    kept: list[tuple[Cell, ...]] = []
    left_out = 0
    for row in rows:
        cells = tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in row)
        room -= sum(min(len(cell.text), 600) + 40 for cell in cells)
        if room < 0:
            left_out += 1
        else:
            kept.append(cells)
    return Table(caption, tuple(columns), tuple(kept), tuple(numbers), left_out)


def measured(caption: str, measurements: Iterable[Measurement], healthy: Mapping[str, str] | None = None) -> Table:
    """Measurements with unit, interval and number of samples, and what would be healthy where that is known."""
    columns = ["measured", "value", _INTERVAL, "n", *([] if healthy is None else ["healthy"])]
    rows: list[list[str | Cell]] = [
        [
            Cell(m.name, code=True),
            amount(m),
            Cell(interval(m), whole=True),
            str(m.n),
            *([] if healthy is None else [healthy.get(m.name, "")]),
        ]
        for m in measurements
    ]
    return table(caption, columns, rows, numbers=(1, 3))


def bullets(items: Iterable[tuple[str, str]]) -> Bullets:
    """A list, and how many were too many for it."""
    known = list(items)
    rest = len(known) - _MOST_ITEMS
    more = [("", f"{rest} more are in the JSON result")] if rest > 0 else []
    return Bullets((*known[:_MOST_ITEMS], *more))


def finding_card(finding: Finding, findings: Sequence[Finding], by_name: Mapping[str, Measurement], label: str) -> Card:
    """A finding with its evidence, what to change, and what it explains."""
    blocks: list[Block] = [Words(finding.summary), Words(finding.cause, "Why")]
    blocks += _evidence(finding, by_name)
    blocks += fixes(finding)
    behind = [f for f in findings if f.explained_by == finding.code]
    if behind:
        blocks.append(Words("", f"It explains {len(behind)} other finding{'' if len(behind) == 1 else 's'}"))
    for other in behind[:_MOST_ITEMS]:
        inside: tuple[Block, ...] = (Words(other.summary), Words(other.cause, "Why"), *_evidence(other, by_name))
        blocks.append(Fold(f"{other.code} {other.name}", inside, other.severity, tone(other.severity)))
    blocks.append(Words(f"energydiag rules {finding.code}", "To read more", code=True))
    return Card(finding.name, finding.code, label, finding.severity, tone(finding.severity), tuple(blocks))


def _evidence(finding: Finding, by_name: Mapping[str, Measurement]) -> list[Block]:
    known = [by_name[name] for name in finding.evidence if name in by_name]
    return [measured(f"Evidence for {finding.code}", known, finding.healthy)] if known else []


def fixes(finding: Finding) -> list[Block]:
    """What to change, the most promising first."""
    if not finding.fixes:
        return []
    first, *others = finding.fixes
    rest = f"; else {', '.join(others)}" if others else ""
    return [Words(f"{first}{rest}", "What to change")]


def findings_section(diagnosis: Diagnosis) -> Section | None:
    """The root causes as cards, each with what it explains."""
    by_name = {m.name: m for m in diagnosis.measurements}
    codes = {f.code for f in diagnosis.findings}
    # a finding whose reason is not among the findings stands for itself
    roots = [f for f in diagnosis.findings if f.explained_by is None or f.explained_by not in codes]
    if not roots:
        return None
    cards = [
        finding_card(root, diagnosis.findings, by_name, "The cause" if place == 0 else "Also")
        for place, root in enumerate(roots[:_MOST_ITEMS])
    ]
    return Section("findings", "What is wrong" if len(diagnosis.findings) > 1 else "The finding", cards)


def questions_section(diagnosis: Diagnosis) -> Section | None:
    """What could not be answered, what is missing, and what would answer it."""
    if not diagnosis.open:
        return None
    rows: list[list[str | Cell]] = [
        [
            one.question,
            Cell(one.could_be or "no effect", badge=tone(one.could_be or "")),
            one.missing,
            Cell(one.answer),
        ]
        for one in diagnosis.open
    ]
    columns = ("question", "could be", "what is missing", "what would answer it")
    return Section("questions", "Open questions", [table("Open questions", columns, rows)])


def next_section(lines: str | None) -> Section | None:
    """What to type next."""
    if not lines:
        return None
    return Section("next", "Next", [Command(tuple(lines.splitlines()[:50]), "Next command to copy")])


def figures_section(charts: Iterable[Chart]) -> Section | None:
    """The charts that have something to draw."""
    figures: list[Figure] = []
    for chart in charts:
        name = f"figure-{len(figures) + 1}"
        picture = drawn(chart, name)
        if picture is not None:
            figures.append(Figure(name, chart.title, chart.lead, picture))
        if len(figures) == _MOST_FIGURES:
            break
    if not figures:
        return None
    return Section("figures", "Figures", [Figures(tuple(figures))], "Each opens to its numbers as a table.")


def measurements_section(measurements: Sequence[Measurement]) -> Section | None:
    """Every measurement, in groups."""
    by_name = {m.name: m for m in measurements}
    folds = []
    for group, names in grouped(by_name).items():
        inside: list[Block] = [Words(group.about)] if group.about else []
        inside.append(measured(group.title, [by_name[name] for name in names]))
        folds.append(Fold(f"{group.title} ({len(names)})", tuple(inside)))
    if not folds:
        return None
    return Section("measurements", f"All {len(by_name)} measurements", folds)


def arms_section(arms: Mapping[str, Diagnosis]) -> Section | None:
    """Every measurement of several diagnoses, side by side."""
    by_arm = {arm: {m.name: m for m in diagnosis.measurements} for arm, diagnosis in arms.items()}
    names = list(dict.fromkeys(name for found in by_arm.values() for name in found))
    folds = []
    for group, inside in grouped(names).items():
        rows: list[list[str | Cell]] = []
        for name in inside:
            values = [found.get(name) for found in by_arm.values()]
            rows.append([Cell(name, code=True), *("" if m is None else _with_interval(m) for m in values)])
        about: list[Block] = [Words(group.about)] if group.about else []
        listed = table(group.title, ["measured", *by_arm], rows, numbers=range(1, len(by_arm) + 1))
        folds.append(Fold(f"{group.title} ({len(inside)})", (*about, listed)))
    if not folds:
        return None
    return Section("measurements", f"All {len(names)} measurements", folds, "Value and 95 % interval.")


def _with_interval(m: Measurement) -> str:
    return f"{amount(m)} ({interval(m)})" if m.ci95 else amount(m)


def changes(caption: str, comparison: Changes) -> Table:
    """Every number that a comparison is judged on."""
    sides = list(comparison.sides)
    rows: list[list[str | Cell]] = [
        [
            Cell(m.name, code=True),
            Cell(m.verdict, badge=tone(m.verdict)),
            short(m.delta),
            Cell(interval(m), whole=True),
            *("" if side not in m.values else short(m.values[side]) for side in sides),
            "" if m.better == "none" else m.better,
        ]
        for m in comparison.metrics
    ]
    # a phone shows the first columns without scrolling
    columns = ("measured", "verdict", "change", _INTERVAL, *sides, "better")
    return table(caption, columns, rows, numbers=(2, *range(4, 4 + len(sides))))


def small_print(
    notes: Sequence[str] = (),
    skipped: Sequence[Skipped] = (),
    skipped_title: str = "Not measured or not judged",
) -> Section | None:
    """What the reader should know of, and what was not done."""
    blocks: list[Block] = []
    if notes:
        blocks += [Words("", "Good to know"), bullets(("", note) for note in notes)]
    if skipped:
        blocks.append(Fold(f"{skipped_title} ({len(skipped)})", (bullets((s.name, s.reason) for s in skipped),)))
    return Section("notes", "Notes", blocks) if blocks else None


def provenance_section(provenance: Mapping[str, Any], facts: Mapping[str, Mapping[str, str]]) -> Section | None:
    """Where the result comes from: everything that is known of inputs, settings and versions."""
    folds: list[Block] = []
    for title, known in facts.items():
        if known:
            folds.append(Fold(title, (Facts(tuple((str(name), str(text)) for name, text in known.items())),)))
    command = provenance.get("command")
    rest = {name: value for name, value in provenance.items() if name != "command"}
    inside: list[Block] = []
    if isinstance(command, list | tuple) and command:
        inside.append(Command((" ".join(map(str, command)),), "Command that made the result"))
    if rest:
        inside.append(Facts(tuple((name, _told(value)) for name, value in rest.items())))
    if inside:
        folds.append(Fold("Command, settings and versions", tuple(inside)))
    return Section("provenance", "Provenance", folds) if folds else None


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_told(inner)}" for name, inner in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


_MOST_TILES = 6


def tiles(diagnosis: Diagnosis) -> Tiles | None:
    """The numbers that tell the most, each on its scale."""
    shown = []
    for name, known in metrics.tiles().items():
        m = diagnosis.measurement(name)
        if m is None or known.tile is None or (diagnosis.subject == "checkpoint" and metrics.part(name, "data")):
            continue
        ends_of = m.ci95 or (m.value, m.value)
        scale = None if known.within is None else gauge(m.value, ends_of, known.within, known.chance)
        ends = f"95 %: {interval(m).replace('..', 'to')}" if m.ci95 else ""
        unit = amount(m).partition(" ")[2]
        shown.append(Tile(known.tile.title, name, short(m.value), unit, ends, known.tile.hint, scale))
    return Tiles(tuple(shown[:_MOST_TILES])) if shown else None
