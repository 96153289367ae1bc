"""Several checkpoints as a comment on a pull request: one row each, then what is wrong with which."""

from __future__ import annotations

from collections.abc import Iterable

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
from energydiag.reports.markdown import bullets, code, commands, plain, table
from energydiag.reports.report import Look
from energydiag.reports.wording import config_line
from energydiag.results import Fleet, Inspected

_ROOM = 40_000
"""Bytes of the table, which is what somebody looks at in the morning: about 300 checkpoints."""


def fleet_blocks(fleet: Fleet, look: Look) -> Iterable[str]:
    """The comment, block by block."""
    names = dict(zip((row.checkpoint for row in fleet.rows), labels(fleet.rows), strict=True))
    yield f"## {plain(fleet_headline(fleet))}"
    if fleet.failed:
        yield f"**{plain(failed_line(fleet))}**"
    yield f"batch {plain(batch_line(fleet))}"
    if told := config_line(fleet.provenance):
        yield f"Config: {plain(told)}"
    if told := fleet_identity(fleet):
        yield f"Identity: {plain(told)}"
    shown = shown_numbers(fleet)
    if fleet.rows:
        titles = ("step", *map(code, shown))
        rows = [_row(row, names[row.checkpoint], shown) for row in fleet.rows]
        yield table(("checkpoint", "step", "verdict", "first finding", *titles[1:]), rows, numbers=titles, room=_ROOM)
    found = [
        f"{code(finding.code)} {plain(finding.name)} ({plain(finding.severity)}) comes first in "
        f"{plain(listed([names[row.checkpoint] for row in rows]))}. "
        f"{plain(names[rows[0].checkpoint])}: {plain(finding.summary)}"
        for finding, rows in root_findings(fleet).values()
    ]
    if found:
        yield "**Findings**"
        yield bullets(found)
    if fleet.failed:
        yield "**No result**"
        yield bullets(
            f"{plain(listed([names[row.checkpoint] for row in rows]))}: {plain(error)} Next: {plain(next_step)}"
            for (error, next_step), rows in reasons(fleet).items()
        )
    if look.next_command:
        yield "**Next**"
        yield commands(look.next_command)


def _row(row: Inspected, name: str, shown: Iterable[str]) -> list[str]:
    finding = "" if row.root is None else f"{code(row.root.code)} {plain(row.root.name)}"
    verdict = "no result" if row.diagnosis is None else row.diagnosis.verdict
    return [code(name), step_text(row), plain(verdict), finding, *numbers(row, shown)]
