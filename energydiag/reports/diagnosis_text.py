"""A diagnosis for a tired person at a terminal: verdict, the one cause, its evidence, what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from energydiag.inert import inert
from energydiag.reports.report import Look
from energydiag.reports.wording import (
    about,
    alternatives,
    amount,
    chosen,
    config_line,
    headline,
    interval,
    question_line,
)
from energydiag.results import Diagnosis, Finding, Measurement

COLOURS = {"critical": "bold red", "warning": "bold yellow", "undetermined": "bold magenta", "healthy": "bold green"}


def diagnosis_parts(diagnosis: Diagnosis, look: Look) -> Iterable[RenderableType]:
    """The report, part by part."""
    yield _headline(diagnosis)
    by_name = {m.name: m for m in diagnosis.measurements}
    roots = [f for f in diagnosis.findings if f.explained_by is None]
    if roots:
        yield from _cause(roots[0], diagnosis.findings, by_name, "The cause")
    for other in roots[1:]:
        yield from _cause(other, diagnosis.findings, by_name, "Also")
    yield from _open(diagnosis)
    yield from _numbers(diagnosis, look)
    yield from _small_print(diagnosis)
    if look.next_command:
        lines = "\n".join(inert(line) for line in look.next_command.split("\n"))
        # a command is copied, so it is not wrapped
        yield Text.assemble(("Next  ", "bold"), lines, no_wrap=True, overflow="ignore")


def _headline(diagnosis: Diagnosis) -> RenderableType:
    lines = Text(headline(diagnosis), style=COLOURS[diagnosis.verdict])
    for label, told in (*about(diagnosis), *(("config", c) for c in [config_line(diagnosis.provenance)] if c)):
        lines.append(f"\n{label:<11}", style="dim").append(inert(told), style="default")
    return Panel(lines, border_style=COLOURS[diagnosis.verdict].split()[-1], padding=(0, 1))


def _cause(
    finding: Finding, findings: Iterable[Finding], by_name: Mapping[str, Measurement], title: str
) -> Iterable[RenderableType]:
    yield Text.assemble(
        (f"{title}: ", "bold"),
        (f"{finding.code} {finding.name}", COLOURS[finding.severity]),
        f" ({finding.severity})",
    )
    yield Padding(Text(finding.summary), (0, 0, 0, 2))
    yield Padding(Text.assemble(("Why  ", "bold"), finding.cause), (0, 0, 0, 2))
    evidence = [by_name[name] for name in finding.evidence if name in by_name]
    if evidence:
        yield Padding(_table(evidence, finding.healthy), (0, 0, 0, 2))
    if finding.fixes:
        yield Padding(
            Text.assemble(("Fix  ", "bold"), alternatives(finding.fixes)),
            (0, 0, 0, 2),
        )
    behind = [f for f in findings if f.explained_by == finding.code]
    if behind:
        lines: list[RenderableType] = [Text("It explains", style="bold")]
        for other in behind:
            name = Text.assemble(
                (f"{other.code} {other.name}", COLOURS[other.severity].split()[-1]),
                f" ({other.severity}): ",
                other.summary,
            )
            lines.append(Padding(name, (0, 0, 0, 2)))
        yield Padding(Group(*lines), (0, 0, 0, 2))
    yield Text("")


def _table(measurements: Iterable[Measurement], healthy: Mapping[str, str] | None = None) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="bold")
    table.add_column("measured", overflow="fold")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("95 % interval", no_wrap=True)
    if healthy is not None:
        table.add_column("healthy", overflow="fold")
    for m in measurements:
        row = [Text(inert(m.name)), Text(amount(m)), Text(interval(m))]
        table.add_row(*row, *([] if healthy is None else [Text(healthy.get(m.name, ""))]))
    return table


def _numbers(diagnosis: Diagnosis, look: Look) -> Iterable[RenderableType]:
    yield Text("All measurements" if look.details else "Key measurements", style="bold")
    yield Padding(_table(chosen(diagnosis, look.details)), (0, 0, 1, 2))


def _open(diagnosis: Diagnosis) -> Iterable[RenderableType]:
    if diagnosis.open:
        yield Text("Open questions", style="bold")
        for question in diagnosis.open:
            yield Padding(Text(inert(question_line(question))), (0, 0, 0, 2))
        yield Text("")


def _small_print(diagnosis: Diagnosis) -> Iterable[RenderableType]:
    if diagnosis.notes:
        yield Text("Good to know", style="bold")
        for note in diagnosis.notes:
            yield Padding(Text(inert(note)), (0, 0, 0, 2))
    if diagnosis.skipped:
        yield Text("Not measured or not judged", style="bold")
        for skipped in diagnosis.skipped:
            yield Padding(Text(inert(f"{skipped.name}: {skipped.reason}"), style="dim"), (0, 0, 0, 2))
    if diagnosis.notes or diagnosis.skipped:
        yield Text("")
