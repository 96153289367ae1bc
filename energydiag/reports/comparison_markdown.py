"""A comparison as a comment on a pull request: better or worse, in which numbers, and what else differs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from energydiag.reports.comparison_wording import (
    at_line,
    change_cells,
    change_columns,
    changed,
    compared_headline,
    elsewhere,
    energy_lines,
    left_out,
    limit_line,
    ranked,
    reason_lines,
    side_lines,
)
from energydiag.reports.markdown import bullets, code, commands, folded, plain, table
from energydiag.reports.report import Look
from energydiag.results import Comparison, MetricChange

_NUMBERS = ("first", "other", "change", "p")


def compared_blocks(compared: Comparison, look: Look) -> Iterable[str]:
    """The comment, block by block."""
    yield f"## {plain(compared_headline(compared))}"
    yield from (plain(reason) for reason in reason_lines(compared))
    yield bullets(f"{code(name)}: {plain(told)}" for name, told in side_lines(compared))
    if compared.limits:
        yield "**Limits**"
        yield bullets(f"{code(limit.metric)}: {plain(limit_line(limit))}" for limit in compared.limits)
    yield from (f"**Energies** {plain(line)}" for line in energy_lines(compared))
    if compared.judged:
        yield f"### {plain(at_line(compared))}"
        shown = compared.judged if look.details else changed(compared.judged)
        if shown:
            yield _changes(compared, shown)
        if not look.details and left_out(compared.judged):
            yield plain(left_out(compared.judged))
    if compared.differences:
        names = [side.name for side in compared.sides]
        rows = [[code(one.name), *(plain(one.values.get(name, "")) for name in names)] for one in compared.differences]
        title = f"Settings that differ ({len(rows)})"
        yield folded(title, table(("setting", *map(plain, names)), rows))
    if compared.rankings and len(compared.sides) > 2:
        lines = (f"{code(one.name)} {plain(one.at)}: {plain(ranked(one))}" for one in compared.rankings)
        yield folded("Best first", bullets(lines))
    others = elsewhere(compared)
    if others:
        yield folded(f"Elsewhere in the runs ({len(others)})", _changes(compared, others))
    if compared.notes:
        yield "**Good to know**"
        yield bullets(plain(note) for note in compared.notes)
    if compared.skipped:
        lines = (f"{code(one.name)}: {plain(one.reason)}" for one in compared.skipped)
        yield folded(f"Not compared ({len(compared.skipped)})", bullets(lines))
    if look.next_command:
        yield "**Next**"
        yield commands(look.next_command)


def _changes(compared: Comparison, metrics: Sequence[MetricChange]) -> str:
    columns = change_columns(compared, metrics)
    rows = [
        [code(cell) if column == "metric" else plain(cell) for column, cell in zip(columns, cells, strict=True)]
        for cells in (change_cells(metric, columns) for metric in metrics)
    ]
    return table(columns, rows, numbers=_NUMBERS)
