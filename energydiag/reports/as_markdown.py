"""The answer as a comment on a pull request: the cause first, numbers folded away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from energydiag import metrics
from energydiag.reports.comparison_markdown import compared_blocks
from energydiag.reports.fleet_markdown import fleet_blocks
from energydiag.reports.markdown import bullets, code, commands, fitted, folded, plain, table
from energydiag.reports.report import Look, Report, Result
from energydiag.reports.wording import (
    about,
    amount,
    arm_rows,
    chosen,
    config_line,
    headline,
    interval,
    model_line,
    parameters,
    question_line,
    repair_headline,
    run_line,
    samples_line,
    shapes_line,
    short,
    variant,
)
from energydiag.results import (
    BatchDiagnosis,
    Changes,
    CheckpointDiagnosis,
    Comparison,
    Diagnosis,
    Finding,
    Fleet,
    Measurement,
    Repair,
    RunDiagnosis,
    Skipped,
)

_INTERVAL = "95 % interval"


def _render(result: Result, look: Look) -> str:
    if isinstance(result, Comparison):
        return fitted(compared_blocks(result, look))
    if isinstance(result, Fleet):
        return fitted(fleet_blocks(result, look))
    return fitted(_repair(result, look) if isinstance(result, Repair) else _diagnosis(result, look))


def _diagnosis(diagnosis: Diagnosis, look: Look) -> Iterable[str]:
    yield f"## {plain(headline(diagnosis))}"
    yield _subject(diagnosis)
    if told := config_line(diagnosis.provenance):
        yield f"Config: {plain(told)}"
    lines = dict(about(diagnosis))
    if "identity" in lines:
        yield f"Identity: {plain(lines['identity'])}"
    by_name = {m.name: m for m in diagnosis.measurements}
    roots = [f for f in diagnosis.findings if f.explained_by is None]
    for title, root in zip(["The cause", *["Also"] * len(roots)], roots, strict=False):
        yield from _cause(root, diagnosis.findings, by_name, title)
    if diagnosis.open:
        yield "**Open questions**"
        yield bullets(plain(question_line(question)) for question in diagnosis.open)
    if diagnosis.notes:
        yield "**Good to know**"
        yield bullets(plain(note) for note in diagnosis.notes)
    shown = chosen(diagnosis, look.details)
    which = "All" if look.details else "Key"
    title = f"{which} measurements ({len(shown)} of {len(diagnosis.measurements)})"
    yield folded(title, f"{_facts(diagnosis)}\n\n{_measured(shown)}")
    if diagnosis.skipped:
        yield _skipped("Not measured or not judged", diagnosis.skipped)
    yield from _next(look)


def _subject(diagnosis: Diagnosis) -> str:
    """What was measured on what."""
    parts = [f"{label} {code(facts.path)}" for label, facts in diagnosis.facts().items() if facts.path]
    if isinstance(diagnosis, CheckpointDiagnosis | BatchDiagnosis):
        parts.append(f"samples: {plain(samples_line(diagnosis.batch))}")
    return ", ".join(parts)


def _facts(diagnosis: Diagnosis) -> str:
    """What is known of the inputs."""
    if isinstance(diagnosis, RunDiagnosis):
        return f"Log: {plain(run_line(diagnosis.run))}."
    model = f"Model: {plain(model_line(diagnosis.checkpoint))}. " if isinstance(diagnosis, CheckpointDiagnosis) else ""
    shapes = shapes_line(diagnosis.batch) if isinstance(diagnosis, CheckpointDiagnosis | BatchDiagnosis) else ""
    return f"{model}Shapes: {plain(shapes)}."


def _cause(
    finding: Finding, findings: Iterable[Finding], by_name: Mapping[str, Measurement], title: str
) -> Iterable[str]:
    yield f"### {title}: {_named(finding)}"
    yield plain(finding.summary)
    yield f"**Why:** {plain(finding.cause)}"
    evidence = [by_name[name] for name in finding.evidence if name in by_name]
    if evidence:
        yield _measured(evidence, finding.healthy)
    if finding.fixes:
        first, others = code(finding.fixes[0]), ", ".join(code(fix) for fix in finding.fixes[1:])
        yield f"**Fix:** {first}{f' (or {others})' if others else ''}"
    behind = [f for f in findings if f.explained_by == finding.code]
    if behind:
        yield "**It explains**"
        yield bullets(f"{_named(other)}: {plain(other.summary)}" for other in behind)


def _named(finding: Finding) -> str:
    return f"{code(finding.code)} {plain(finding.name)} ({plain(finding.severity)})"


def _measured(measurements: Iterable[Measurement], healthy: Mapping[str, str] | None = None) -> str:
    columns = ["measured", "value", _INTERVAL, "n", *([] if healthy is None else ["healthy"])]
    rows = [
        [
            code(m.name),
            plain(amount(m)),
            interval(m),
            plain(str(m.n)),
            *([] if healthy is None else [plain(healthy.get(m.name, ""))]),
        ]
        for m in measurements
    ]
    return table(columns, rows, numbers=("value", "n"))


def _skipped(title: str, skipped: Sequence[Skipped]) -> str:
    return folded(f"{title} ({len(skipped)})", bullets(f"{code(s.name)}: {plain(s.reason)}" for s in skipped))


def _next(look: Look) -> Iterable[str]:
    if look.next_command:
        yield "**Next**"
        yield commands(look.next_command)


def _repair(repair: Repair, look: Look) -> Iterable[str]:
    yield f"## {plain(repair_headline(repair))}"
    if told := config_line(repair.provenance):
        yield f"Config: {plain(told)}"
    if repair.reasons:
        yield bullets(plain(reason) for reason in repair.reasons)
    if repair.applied:
        yield "**Fixes**"
        yield bullets(_applied(a.fix, a.handles, a.parameters) for a in repair.applied)
        yield "### On the same held-out samples"
        yield _arms(repair, metrics.names("arm"), "scale-free")
        yield _arms(repair, metrics.names("arm-scaled"), "on the energy's own scale")
    for title, comparison in (("Against before", repair.against_before), ("Against the control", repair.comparison)):
        if comparison is not None:
            yield _changes(title, comparison)
    for ablation in repair.ablation:
        yield _changes(f"The whole repair against {variant(ablation.kind, ablation.fix)}", ablation.comparison)
    if repair.skipped:
        yield _skipped("Not applied", repair.skipped)
    if repair.checkpoint:
        yield f"**Repaired checkpoint:** {code(repair.checkpoint)}"
    yield from _next(look)


def _applied(fix: str, handles: Sequence[str], changed: object) -> str:
    reason = f" for {', '.join(map(code, handles))}" if handles else ""
    return f"{code(fix)}{reason}: {plain(parameters(changed))}"


def _arms(repair: Repair, names: Iterable[str], title: str) -> str:
    arms = [plain(arm) for arm in repair.arms]
    rows = [[code(name), *values] for name, *values in arm_rows(repair, names)]
    return table([title, *arms], rows, numbers=arms)


def _changes(title: str, comparison: Changes) -> str:
    rows = [[code(m.name), short(m.delta), interval(m), plain(m.verdict)] for m in comparison.metrics]
    content = table(("metric", "change", _INTERVAL, "verdict"), rows, numbers=("change",))
    return folded(f"{plain(title)}: {plain(comparison.verdict)}", content)


REPORT = Report("md", _render)
