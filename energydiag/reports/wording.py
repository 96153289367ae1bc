"""What every format says in the same words: headlines, chosen numbers, and how a number is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from energydiag.inert import inert
from energydiag.metrics import names, part, unit_shown
from energydiag.results import (
    BatchDiagnosis,
    BatchFacts,
    CheckpointDiagnosis,
    CheckpointFacts,
    Diagnosis,
    Measurement,
    MetricChange,
    Open,
    Repair,
    RunDiagnosis,
    RunFacts,
)


def headline(diagnosis: Diagnosis) -> str:
    """First line of a diagnosis."""
    if diagnosis.verdict == "critical":
        subject = {"checkpoint": "energy head"}.get(diagnosis.subject, diagnosis.subject)
        return f"CRITICAL: this {subject} cannot be relied on"
    if diagnosis.verdict == "undetermined":
        first = next(question for question in diagnosis.open if question.could_be)
        count = sum(question.could_be is not None for question in diagnosis.open) - 1
        more = f" ({count} more open question{'' if count == 1 else 's'})" if count else ""
        return f"UNDETERMINED: {first.missing}{more}"
    if diagnosis.verdict == "warning":
        return "WARNING: something needs attention"
    return "HEALTHY: no fault found"


def question_line(question: Open) -> str:
    """An open question with what is missing and what would answer it."""
    worst = "" if question.could_be is None else f" (could be {question.could_be})"
    missing = f"{question.missing[:1].upper()}{question.missing[1:]}".rstrip(".")
    return f"{question.question}{worst} {missing}. What would answer it: {question.answer}."


def repair_headline(repair: Repair) -> str:
    """First line of a repair."""
    if not repair.applied:
        return f"{repair.verdict.upper()}: nothing {'needs fixing' if repair.accepted else 'was done'}"
    return f"{repair.verdict.upper()}: the repair {'counts' if repair.accepted else 'does not count'}"


def short(value: float) -> str:
    """Three digits; whole numbers whole, very small and very large ones with an exponent."""
    if value == 0:
        return "0"
    if float(value).is_integer() and abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:.3g}" if 1e-3 <= abs(value) < 1e5 else f"{value:.1e}"


def amount(measurement: Measurement) -> str:
    """The value with its unit; ratios and counts have none."""
    return f"{short(measurement.value)} {unit_shown(measurement.unit)}".rstrip()


def interval(number: Measurement | MetricChange) -> str:
    """Both ends of the 95 % interval, or nothing where there is none."""
    return "" if number.ci95 is None else f"{short(number.ci95[0])} .. {short(number.ci95[1])}"


def chosen(diagnosis: Diagnosis, details: bool) -> list[Measurement]:
    """Every measurement, or the key ones."""
    named = {m.name: m for m in diagnosis.measurements}
    if details:
        return list(named.values())
    return [
        named[name]
        for name in names("key")
        if name in named and not (diagnosis.subject == "checkpoint" and part(name, "data"))
    ]


def arm_rows(repair: Repair, names: Iterable[str]) -> list[tuple[str, ...]]:
    """A name and its value in every arm; rows where no arm has it are left out."""
    rows = []
    for name in names:
        found = [diagnosis.measurement(name) for diagnosis in repair.arms.values()]
        if any(m is not None for m in found):
            rows.append((name, *("" if m is None else short(m.value) for m in found)))
    return rows


def model_line(facts: CheckpointFacts) -> str:
    """Architecture, size and energy of a checkpoint."""
    return f"{facts.architecture}, {facts.parameters:,} parameters; {facts.energy}"


def identity_line(facts: CheckpointFacts) -> str:
    """Whether it is proven that this is the owner's model, or what was assumed; empty where nothing is said."""
    return f"{facts.identity_told}." if facts.identity_told else ""


def about(diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    """What was measured, and on what: labels and lines."""
    if isinstance(diagnosis, RunDiagnosis):
        yield "run", diagnosis.run.path
        yield "log", run_line(diagnosis.run)
    for label, facts in diagnosis.facts().items():
        if facts.path and label != "run":
            yield label, facts.path
    if isinstance(diagnosis, CheckpointDiagnosis):
        yield "model", model_line(diagnosis.checkpoint)
        if told := identity_line(diagnosis.checkpoint):
            yield "identity", told
    if isinstance(diagnosis, CheckpointDiagnosis | BatchDiagnosis):
        yield "samples", f"{samples_line(diagnosis.batch)}; {shapes_line(diagnosis.batch)}"


def config_line(provenance: Mapping[str, Any]) -> str:
    """What a config file has set; empty where none has."""
    told = provenance.get("config")
    if not isinstance(told, Mapping):
        return ""
    return f"{told.get('options', '')}, set by {told.get('file', '')}"


def samples_line(facts: BatchFacts) -> str:
    """How many samples of a batch were used, from how many episodes."""
    used, count = facts.samples_used, facts.samples
    samples = f"{count}" if used == count else f"{used} of {count}"
    return samples if facts.episodes is None else f"{samples} from {facts.episodes} episodes"


def shapes_line(facts: BatchFacts) -> str:
    """Shapes of a batch."""
    return f"hidden {list(facts.hidden)}, actions {list(facts.actions)}"


def run_line(facts: RunFacts) -> str:
    """What a training log holds, and what is known of its loss."""
    limits = f"; {', '.join(facts.limits)}" if facts.limits else ""
    return f"{facts.rows} rows of {facts.format}, steps {facts.steps}: {', '.join(facts.series)}{limits}"


def alternatives(names: tuple[str, ...]) -> str:
    """Names to choose from, most promising first."""
    others = f" (or {', '.join(names[1:])})" if names[1:] else ""
    return "".join(names[:1]) + others


def variant(kind: str, fix: str) -> str:
    """What an ablation compares the whole repair with."""
    return f"itself without {fix}" if kind == "without" else f"{fix} alone"


def parameters(changed: object) -> str:
    """What a fix changed in the plan."""
    if not isinstance(changed, dict):
        return str(changed)
    return ", ".join(f"{key} {inert(str(value))}" for key, value in changed.items()) or "no change"
