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
from energydiag.results import Diagnosis, Finding, Measurement

COLOURS = {"critical": "bold red", "warning": "bold yellow", "healthy": "bold green"}
_HEADLINES = {
    "critical": "CRITICAL: this energy head cannot be relied on",
    "warning": "WARNING: something needs a look",
    "healthy": "HEALTHY: no fault found",
}
_KEY_NUMBERS = (
    "head.slope_saturated_fraction",
    "head.zero_slope_fraction",
    "head.range_use",
    "loss.swap",
    "loss.swap.floor",
    "floor_gap.swap",
    "gap.swap",
    "gap_std.swap",
    "auroc.swap",
    "top1.swap",
    "mrr.swap",
    "auroc.policy",
    "gradient.parameters.norm",
    "gradient.parameters.first_last_ratio",
    "gradient.actions.norm_median",
    "gradient.actions.relative_median",
    "gradient.actions.share_max",
)


def diagnosis_parts(diagnosis: Diagnosis, look: Look) -> Iterable[RenderableType]:
    """The report, part by part."""
    yield _headline(diagnosis)
    by_name = {m.name: m for m in diagnosis.measurements}
    roots = [f for f in diagnosis.findings if f.explained_by is None]
    if roots:
        yield from _cause(roots[0], diagnosis.findings, by_name, "The cause")
    for other in roots[1:]:
        yield from _cause(other, diagnosis.findings, by_name, "Also")
    yield from _numbers(diagnosis, look)
    yield from _small_print(diagnosis)
    if look.next_command:
        lines = "\n".join(inert(line) for line in look.next_command.split("\n"))
        # a command is copied, so it is not wrapped
        yield Text.assemble(("Next  ", "bold"), lines, no_wrap=True, overflow="ignore")


def _headline(diagnosis: Diagnosis) -> RenderableType:
    lines = Text(_HEADLINES[diagnosis.verdict], style=COLOURS[diagnosis.verdict])
    for label, facts in (("checkpoint", diagnosis.checkpoint), ("batch", diagnosis.batch)):
        if "path" in facts:
            lines.append(f"\n{label:<11}", style="dim").append(inert(facts["path"]), style="default")
    lines.append("\nmodel      ", style="dim").append(inert(_model_line(diagnosis.checkpoint)), style="default")
    lines.append("\nsamples    ", style="dim").append(_batch_line(diagnosis.batch), style="default")
    return Panel(lines, border_style=COLOURS[diagnosis.verdict].split()[-1], padding=(0, 1))


def _model_line(facts: Mapping[str, str]) -> str:
    count = facts["parameters"]
    shown = f"{int(count):,}" if count.isdecimal() else count
    return f"{facts['architecture']}, {shown} parameters; {facts['energy']}"


def _batch_line(facts: Mapping[str, str]) -> str:
    used, count = facts["samples_used"], facts["samples"]
    samples = count if used == count else f"{used} of {count}"
    episodes = "" if facts["episodes"] == "unknown" else f" from {facts['episodes']} episodes"
    return f"{samples}{episodes}; hidden {facts['hidden']}, actions {facts['actions']}"


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
            Text.assemble(("Fix  ", "bold"), finding.fixes[0], _or(finding.fixes[1:])),
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


def _or(others: tuple[str, ...]) -> str:
    return f" (or {', '.join(others)})" if others else ""


_UNITS = {"1": "", "count": "", "energy": "E", "energy/action": "E/a"}


def _table(measurements: Iterable[Measurement], healthy: Mapping[str, str] | None = None) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="bold")
    table.add_column("measured", overflow="fold")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("95 % interval", no_wrap=True)
    if healthy is not None:
        table.add_column("healthy", overflow="fold")
    for m in measurements:
        interval = "" if m.ci95 is None else f"{short(m.ci95[0])} .. {short(m.ci95[1])}"
        value = f"{short(m.value)} {_UNITS.get(m.unit, m.unit)}".rstrip()
        row = [Text(inert(m.name)), Text(value), Text(interval)]
        table.add_row(*row, *([] if healthy is None else [Text(healthy.get(m.name, ""))]))
    return table


def short(value: float) -> str:
    """Three digits; whole numbers whole, very small and very large ones with an exponent."""
    if value == 0:
        return "0"
    if float(value).is_integer() and abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:.3g}" if 1e-3 <= abs(value) < 1e5 else f"{value:.1e}"


def _numbers(diagnosis: Diagnosis, look: Look) -> Iterable[RenderableType]:
    named = {m.name: m for m in diagnosis.measurements}
    chosen = list(named.values()) if look.details else [named[name] for name in _KEY_NUMBERS if name in named]
    yield Text("All measurements" if look.details else "Key measurements", style="bold")
    yield Padding(_table(chosen), (0, 0, 1, 2))


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
