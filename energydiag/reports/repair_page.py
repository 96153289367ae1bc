"""The page of a repair: whether it counts, against what, and what each fix changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from energydiag import metrics
from energydiag.reports.blocks import Block, Cell, Fold, Page, Section, Words
from energydiag.reports.charts import charts_of
from energydiag.reports.page_parts import (
    arms_section,
    changes,
    figures_section,
    finding_card,
    next_section,
    provenance_section,
    small_print,
    table,
    tone,
)
from energydiag.reports.report import Look
from energydiag.reports.wording import (
    arm_rows,
    config_line,
    identity_line,
    parameters,
    repair_headline,
    variant,
)
from energydiag.results import Diagnosis, Repair


def repair_page(repair: Repair, look: Look) -> Page:
    """The page."""
    sections = (
        _proof(repair),
        _applied(repair),
        next_section(look.next_command),
        figures_section(charts_of(repair)),
        _arms(repair),
        _ablation(repair),
        small_print(skipped=repair.skipped, skipped_title="Fixes that were not applied"),
        arms_section(repair.arms),
        provenance_section({**repair.provenance, "plan": dict(repair.plan)} if repair.plan else repair.provenance, {}),
    )
    _, _, sentence = repair_headline(repair).partition(": ")
    return Page(
        kind="Repair",
        word=repair.verdict.capitalize().replace("-", " "),
        tone=tone(repair.verdict),
        headline=f"{sentence[:1].upper()}{sentence[1:]}",
        reasons=repair.reasons[:20],
        facts=tuple(_facts(repair)),
        sections=[section for section in sections if section is not None],
        created=repair.created,
        version=repair.energydiag_version,
    )


def _facts(repair: Repair) -> Iterable[tuple[str, str]]:
    if told := config_line(repair.provenance):
        yield "Config", told
    before = repair.arms.get("before")
    if before is not None and before.checkpoint.path:
        yield "Checkpoint", before.checkpoint.path
        if told := identity_line(before.checkpoint):
            yield "Identity", told
    if repair.checkpoint:
        yield "Repaired", repair.checkpoint
    if before is not None and before.batch.path:
        yield "Held out", before.batch.path
    if repair.arms:
        yield "Verdicts", ", ".join(f"{arm}: {diagnosis.verdict}" for arm, diagnosis in repair.arms.items())


def _proof(repair: Repair) -> Section | None:
    blocks: list[Block] = []
    for title, comparison in (("Against before", repair.against_before), ("Against the control", repair.comparison)):
        if comparison is not None:
            blocks.append(changes(f"{title}: {comparison.verdict}", comparison))
    lead = "The same held-out samples; a change counts where it is beyond chance. The control was trained as long."
    return Section("proof", "The proof", blocks, lead) if blocks else None


def _applied(repair: Repair) -> Section | None:
    if not repair.applied:
        return None
    rows: list[list[str | Cell]] = [
        [Cell(a.fix, code=True), ", ".join(a.handles), _settings(a.parameters)] for a in repair.applied
    ]
    blocks: list[Block] = [table("Fixes, in the order they were applied", ("fix", "for", "what it set"), rows)]
    for title, names in (
        ("Scale-free numbers", metrics.names("arm")),
        ("On the energy's own scale", metrics.names("arm-scaled")),
    ):
        found: list[list[str | Cell]] = [[Cell(name, code=True), *values] for name, *values in arm_rows(repair, names)]
        if found:
            blocks.append(table(title, ("measured", *repair.arms), found, numbers=range(1, len(repair.arms) + 1)))
    return Section("fixes", "What was changed", blocks)


def _settings(changed: Mapping[str, Any]) -> str:
    return parameters(changed) if isinstance(changed, dict) else str(changed)


def _arms(repair: Repair) -> Section | None:
    folds = []
    for arm, diagnosis in repair.arms.items():
        inside = tuple(_findings(diagnosis)) or (Words("No fault found."),)
        folds.append(Fold(f"Findings {arm}", inside, diagnosis.verdict, tone(diagnosis.verdict)))
    return Section("arms", "Findings before and after", folds) if folds else None


def _findings(diagnosis: Diagnosis) -> Iterable[Block]:
    by_name = {m.name: m for m in diagnosis.measurements}
    for finding in diagnosis.findings[:40]:
        behind = f"Explained by {finding.explained_by}" if finding.explained_by else ""
        yield finding_card(finding, (), by_name, behind)


def _ablation(repair: Repair) -> Section | None:
    folds = [
        Fold(
            f"The whole repair against {variant(one.kind, one.fix)}",
            (changes(f"{one.kind} {one.fix}", one.comparison),),
            one.comparison.verdict,
            tone(one.comparison.verdict),
        )
        for one in repair.ablation[:100]
    ]
    return Section("ablation", "What each fix contributes", folds) if folds else None
