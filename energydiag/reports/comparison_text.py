"""A comparison for a tired person at a terminal: better or worse, in which numbers, and what else differs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from energydiag.inert import inert
from energydiag.reports.comparison_wording import (
    at_line,
    change_cells,
    changed,
    compared_headline,
    elsewhere,
    energy_lines,
    in_lines,
    left_out,
    limit_line,
    ranked,
    reason_lines,
    side_lines,
    side_of,
)
from energydiag.reports.report import Look
from energydiag.results import Comparison, MetricChange

_COLOURS = {"improved": "bold green", "regressed": "bold red", "unchanged": "bold"}
_WIDE = 90
"""Columns from which there is room for p."""

_NARROW = 21
"""Characters of a metric's name in a line where there is room for no more."""

_NUMBERS = ("first", "other", "change", "p")


def compared_parts(compared: Comparison, look: Look) -> Iterable[RenderableType]:
    """The report, part by part."""
    colour = _COLOURS.get(compared.verdict, "bold yellow")
    head = Text(inert(compared_headline(compared)), colour)
    for reason in reason_lines(compared):
        head.append(f"\n{inert(reason)}", style="default")
    for name, told in side_lines(compared):
        head.append(f"\n{inert(name)}  ", style="bold default").append(inert(told), style="default")
    yield Panel(head, border_style=colour.split()[-1] if " " in colour else "default", padding=(0, 1))
    if compared.limits:
        yield Text("Limits", style="bold")
        for limit in compared.limits:
            style = {"broken": "red", "kept": "green"}.get(limit.verdict, "yellow")
            yield Padding(Text.assemble((inert(limit.metric), style), inert(f"  {limit_line(limit)}")), (0, 0, 0, 2))
        yield Text("")
    for line in energy_lines(compared):
        yield Text.assemble(("Energies  ", "bold"), inert(line))
    if compared.judged:
        yield Text(inert(at_line(compared)), style="bold")
        yield from _changes(compared, compared.judged if look.details else changed(compared.judged), look.width)
        if not look.details and left_out(compared.judged):
            yield Padding(Text(left_out(compared.judged), style="dim"), (0, 0, 1, 2))
    others = elsewhere(compared)
    if look.details and others:
        yield Text("Elsewhere in the runs", style="bold")
        yield from _changes(compared, others, look.width)
    if compared.rankings and len(compared.sides) > 2:
        yield Text("Best first", style="bold")
        for ranking in compared.rankings:
            named = f"{ranking.name}{f' ({ranking.at})' if ranking.at else ''}"
            yield Padding(Text(inert(f"{named}: {ranked(ranking)}")), (0, 0, 0, 2))
        yield Text("")
    if compared.differences:
        yield Text("Settings that differ", style="bold")
        yield Padding(_differences(compared), (0, 0, 1, 2))
    yield from _small_print(compared)
    if look.next_command:
        lines = "\n".join(inert(line) for line in look.next_command.split("\n"))
        yield Text.assemble(("Next  ", "bold"), lines, no_wrap=True, overflow="ignore")


def _changes(compared: Comparison, metrics: Sequence[MetricChange], width: int) -> Iterable[RenderableType]:
    """A table for each side and place, since one line has no room for their names, and why a verdict is not plain."""
    several = len(compared.sides) > 2
    for side, at in dict.fromkeys((side_of(m), m.at) for m in metrics):
        own = [m for m in metrics if (side_of(m), m.at) == (side, at)]
        columns = ["metric", "first", "other", "change", "95 % interval", *(["p"] if width >= _WIDE else []), "verdict"]
        where = f" ({at})" if at != compared.at else ""
        if several or where:
            yield Padding(Text(inert(f"{side}{where}"), style="italic"), (0, 0, 0, 2))
        table = _empty(columns, _NUMBERS, folded=("metric",))
        for metric in own:
            cells = [Text(inert(cell)) for cell in change_cells(metric, columns)]
            cells[0] = Text(in_lines(inert(metric.name), _NARROW if width < _WIDE else width))
            cells[-1].stylize(_COLOURS.get(metric.verdict, "default").split()[-1].replace("bold", "default"))
            table.add_row(*cells)
        yield Padding(table, (0, 0, 0, 2))
        for reason in dict.fromkeys(m.reason for m in own if m.reason):
            names = ", ".join(m.name for m in own if m.reason == reason)
            yield Padding(Text(inert(f"{names}: {reason}"), style="dim"), (0, 0, 0, 2))
        yield Text("")


def _differences(compared: Comparison) -> Table:
    names = [side.name for side in compared.sides]
    columns = ["setting", *map(inert, names)]
    table = _empty(columns, (), folded=columns)
    for one in compared.differences:
        table.add_row(Text(inert(one.name)), *(Text(inert(one.values.get(name, ""))) for name in names))
    return table


def _empty(columns: Sequence[str], numbers: Sequence[str], folded: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="bold")
    for column in columns:
        right, whole = column in numbers, column not in folded
        table.add_column(Text(column), overflow="fold", justify="right" if right else "left", no_wrap=whole)
    return table


def _small_print(compared: Comparison) -> Iterable[RenderableType]:
    for title, lines in (
        ("Good to know", compared.notes),
        ("Not compared", tuple(f"{one.name}: {one.reason}" for one in compared.skipped)),
    ):
        if lines:
            yield Text(title, style="bold")
            for line in lines:
                yield Padding(Text(inert(line), style="dim" if title == "Not compared" else ""), (0, 0, 0, 2))
