"""Several checkpoints for a tired person at a terminal: one row each, then what is wrong with which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from rich.console import RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from energydiag.inert import inert
from energydiag.metrics import sweep_columns
from energydiag.reports.diagnosis_text import COLOURS
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
from energydiag.reports.report import Look
from energydiag.reports.wording import config_line, short
from energydiag.results import Fleet, Inspected

_WIDE = 100
"""Columns from which there is room for names beside steps, and for the names of findings."""

_LABEL = 18
"""Columns of a name in the table; a longer one is folded."""


@dataclass(frozen=True)
class _Names:
    """What checkpoints are called.

    Attributes:
        whole: As much of the path as tells them apart, by path.
        steps: Whether each has a step of its own, which is then what it is called by.
    """

    whole: Mapping[str, str]
    steps: bool

    @classmethod
    def of(cls, fleet: Fleet) -> _Names:
        """For these checkpoints."""
        steps = [row.step for row in fleet.rows]
        whole = dict(zip((row.checkpoint for row in fleet.rows), map(inert, labels(fleet.rows)), strict=True))
        return cls(whole, None not in steps and len(set(steps)) == len(steps))

    def short(self, row: Inspected) -> str:
        """The step, else the name without a suffix that all have."""
        suffixes = {PurePath(name).suffix for name in self.whole.values()}
        suffix = suffixes.pop() if len(suffixes) == 1 else ""
        return self.whole[row.checkpoint].removesuffix(suffix if suffix[1:].isalpha() else "")

    def one(self, row: Inspected) -> str:
        """One, in a sentence."""
        return f"step {row.step}" if self.steps else self.whole[row.checkpoint]

    def many(self, rows: Sequence[Inspected]) -> str:
        """Several, in a sentence."""
        if not self.steps:
            return listed([self.whole[row.checkpoint] for row in rows])
        return f"step{'' if len(rows) == 1 else 's'} {listed([str(row.step) for row in rows], most=16)}"


def fleet_parts(fleet: Fleet, look: Look) -> Iterable[RenderableType]:
    """The report, part by part."""
    names = _Names.of(fleet)
    yield _headline(fleet)
    if fleet.rows:
        yield from _table(fleet, names, look.width)
        yield Text("")
    for code, (finding, rows) in root_findings(fleet).items():
        yield Text.assemble(
            (f"{code} {finding.name}", COLOURS[finding.severity]), f" comes first in {names.many(rows)}"
        )
        yield Padding(Text(inert(f"{names.one(rows[0])}: {finding.summary}")), (0, 0, 0, 2))
    for (error, next_step), rows in reasons(fleet).items():
        yield Text.assemble(("No result: ", "bold red"), listed([names.whole[row.checkpoint] for row in rows]))
        yield Padding(Text(inert(error)), (0, 0, 0, 2))
        yield Padding(Text.assemble(("next  ", "bold"), inert(next_step)), (0, 0, 0, 2))
    if look.details:
        yield Text("")
        yield from _everything(fleet, names, look.width)
    if look.next_command:
        lines = "\n".join(inert(line) for line in look.next_command.split("\n"))
        yield Text("")
        yield Text.assemble(("Next  ", "bold"), lines, no_wrap=True, overflow="ignore")


def _headline(fleet: Fleet) -> RenderableType:
    colour = COLOURS[fleet.verdict] if fleet.diagnosed or not fleet.rows else "bold red"
    lines = Text(fleet_headline(fleet), style=colour)
    if fleet.failed:
        lines.append(f"\n{failed_line(fleet)}", style="bold red")
    lines.append(f"\n{'batch':<9}", style="dim").append(inert(batch_line(fleet)), style="default")
    if told := config_line(fleet.provenance):
        lines.append(f"\n{'config':<9}", style="dim").append(inert(told), style="default")
    if told := fleet_identity(fleet):
        lines.append(f"\n{'identity':<9}", style="dim").append(inert(told), style="default")
    return Panel(lines, border_style=colour.split()[-1], padding=(0, 1))


def _table(fleet: Fleet, names: _Names, width: int) -> Iterable[RenderableType]:
    """The table with as many numbers as fit, and what their titles mean."""
    wide = width >= _WIDE
    gap = 2 if wide else 1
    cells = [[Text(step_text(row)), Text(names.short(row)), *_verdict(row, wide=wide)] for row in fleet.rows]
    titles = ["step", "checkpoint", "verdict", "first finding" if wide else "first"]
    kept = [any(row.step is not None for row in fleet.rows), wide or not names.steps, True, True]
    table = Table(box=None, padding=(0, gap, 0, 0), show_edge=False, header_style="bold")
    used = 0
    for place, title in enumerate(titles):
        if kept[place]:
            longest = max(len(title), *(len(row[place]) for row in cells))
            used += min(longest, _LABEL if title == "checkpoint" else longest) + gap
            fold = {"overflow": "fold", "max_width": _LABEL} if title == "checkpoint" else {"no_wrap": True}
            table.add_column(title, justify="right" if title == "step" else "left", vertical="top", **fold)
    every = shown_numbers(fleet)
    values = {name: [numbers(row, [name])[0] for row in fleet.rows] for name in every}
    shown = []
    for name in every:
        used += max(map(len, (*sweep_columns()[name], *values[name]))) + gap
        if used > width:
            break
        shown.append(name)
        table.add_column("\n".join(sweep_columns()[name]), justify="right", no_wrap=True)
    for index, row in enumerate(cells):
        own = [cell for cell, keep in zip(row, kept, strict=True) if keep]
        table.add_row(*own, *(values[name][index] for name in shown))
    yield table
    words = [f"{title} = {name}" for name in shown if (title := _title(name)).lower().replace(" ", ".") != name]
    more = ["not shown, for want of space: " + ", ".join(every[len(shown) :])] if len(shown) < len(every) else []
    yield Text("; ".join([*words, *more]), style="dim")


def _title(name: str) -> str:
    return " ".join(sweep_columns()[name]).replace("- ", "").replace(" /", "/")


def _verdict(row: Inspected, *, wide: bool) -> Sequence[Text]:
    if row.diagnosis is None:
        return Text("failed", "bold red"), Text("")
    finding = row.root
    told = "" if finding is None else f"{finding.code} {finding.name}" if wide else finding.code
    return Text(row.diagnosis.verdict, COLOURS[row.diagnosis.verdict]), Text(told)


def _everything(fleet: Fleet, names: _Names, width: int) -> Iterable[RenderableType]:
    """Every measurement, checkpoints side by side, as many as fit."""
    rows = fleet.diagnosed
    measured = list(dict.fromkeys(m.name for row in rows if row.diagnosis for m in row.diagnosis.measurements))
    if not measured:
        return
    titles = [names.one(row) if names.steps else names.short(row)[-_LABEL:] for row in rows]
    room = max(1, (width - max(map(len, measured)) - 2) // (max(9, *map(len, titles)) + 2))
    for start in range(0, len(rows), room):
        values = [
            {} if row.diagnosis is None else {m.name: m.value for m in row.diagnosis.measurements}
            for row in rows[start : start + room]
        ]
        table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="bold")
        table.add_column("measured", overflow="fold")
        for title in titles[start : start + room]:
            table.add_column(title, justify="right", no_wrap=True)
        for name in measured:
            table.add_row(Text(inert(name)), *(short(each[name]) if name in each else "" for each in values))
        yield Padding(table, (0, 0, 1, 0))
