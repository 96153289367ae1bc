"""A repair for a tired person at a terminal: did it work, against what, and what did each fix change."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from energydiag import metrics
from energydiag.inert import inert
from energydiag.reports.report import Look
from energydiag.reports.wording import (
    arm_rows,
    config_line,
    identity_line,
    interval,
    parameters,
    repair_headline,
    short,
    variant,
)
from energydiag.results import Changes, Repair

_COLOURS = {"healed": "bold green", "improved": "bold green"}


def repair_parts(repair: Repair, look: Look) -> Iterable[RenderableType]:
    """The report, part by part."""
    colour = _COLOURS.get(repair.verdict, "bold red")
    headline = Text(repair_headline(repair), colour)
    for reason in repair.reasons:
        headline.append(f"\n{inert(reason)}", style="default")
    if told := config_line(repair.provenance):
        headline.append("\nconfig ", style="dim").append(inert(told), style="default")
    if told := identity_line(repair.arms["before"].checkpoint):
        headline.append("\nidentity ", style="dim").append(inert(told), style="default")
    yield Panel(headline, border_style=colour.split()[-1], padding=(0, 1))
    if repair.applied:
        yield Text("Fixes", style="bold")
        for applied in repair.applied:
            handles = f" for {', '.join(applied.handles)}" if applied.handles else ""
            yield Padding(
                Text.assemble((applied.fix, "bold"), f"{handles}: {parameters(applied.parameters)}"), (0, 0, 0, 2)
            )
        yield Text("")
        yield Text("On the same held-out samples", style="bold")
        yield Padding(_arms(repair, metrics.names("arm-scaled"), "on the energy's own scale"), (0, 0, 0, 2))
        yield Padding(_arms(repair, metrics.names("arm"), "scale-free"), (1, 0, 1, 2))
    for title, comparison in (("Against before", repair.against_before), ("Against the control", repair.comparison)):
        if comparison is not None:
            yield Text(f"{title}: {comparison.verdict}", style="bold")
            yield Padding(_changes(comparison), (0, 0, 1, 2))
    for ablation in repair.ablation:
        yield Text(f"The whole repair against {variant(ablation.kind, ablation.fix)}", style="bold")
        yield Padding(_changes(ablation.comparison), (0, 0, 1, 2))
    if repair.skipped:
        yield Text("Not applied", style="bold")
        for skipped in repair.skipped:
            yield Padding(Text(inert(f"{skipped.name}: {skipped.reason}"), style="dim"), (0, 0, 0, 2))
    if repair.checkpoint:
        yield Text.assemble(("Repaired checkpoint  ", "bold"), inert(repair.checkpoint))
    if look.next_command:
        lines = "\n".join(inert(line) for line in look.next_command.split("\n"))
        yield Text.assemble(("Next  ", "bold"), lines, no_wrap=True, overflow="ignore")


def _arms(repair: Repair, names: Iterable[str], title: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="bold")
    table.add_column(title, overflow="fold")
    for arm in repair.arms:
        table.add_column(arm, justify="right")
    for row in arm_rows(repair, names):
        table.add_row(*row)
    return table


def _changes(comparison: Changes) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="bold")
    for column in ("metric", "change", "95 % interval", "verdict"):
        table.add_column(column, overflow="fold", justify="right" if column == "change" else "left")
    for metric in comparison.metrics:
        table.add_row(metric.name, short(metric.delta), interval(metric), metric.verdict)
    return table
