"""What every format says in the same words: headlines, chosen numbers, and how a number is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from energydiag.inert import inert
from energydiag.metrics import names, part, unit_shown
from energydiag.results import Diagnosis, Measurement, MetricChange, Repair


def headline(diagnosis: Diagnosis) -> str:
    """First line of a diagnosis."""
    if diagnosis.verdict == "critical":
        subject = "run" if "run" in diagnosis.batch else "energy head" if diagnosis.checkpoint else "batch"
        return f"CRITICAL: this {subject} cannot be relied on"
    if diagnosis.verdict == "warning":
        return "WARNING: something needs a look"
    return "HEALTHY: no fault found"


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
    return [named[name] for name in names("key") if name in named and not (diagnosis.checkpoint and part(name, "data"))]


def arm_rows(repair: Repair, names: Iterable[str]) -> list[tuple[str, ...]]:
    """A name and its value in every arm; rows where no arm has it are left out."""
    rows = []
    for name in names:
        found = [diagnosis.measurement(name) for diagnosis in repair.arms.values()]
        if any(m is not None for m in found):
            rows.append((name, *("" if m is None else short(m.value) for m in found)))
    return rows


def model_line(facts: Mapping[str, str]) -> str:
    """Architecture, size and energy of a checkpoint."""
    count = facts["parameters"]
    shown = f"{int(count):,}" if count.isdecimal() else count
    return f"{facts['architecture']}, {shown} parameters; {facts['energy']}"


def identity_line(facts: Mapping[str, str]) -> str:
    """Whether it is proven that this is the owner's model, or what was assumed; empty where nothing is said."""
    told = facts.get("identity_told", "")
    return f"{told}." if told else ""


def config_line(provenance: Mapping[str, Any]) -> str:
    """What a config file has set; empty where none has."""
    told = provenance.get("config")
    if not isinstance(told, Mapping):
        return ""
    return f"{told.get('options', '')}, set by {told.get('file', '')}"


def samples_line(facts: Mapping[str, str]) -> str:
    """How many samples of a batch were used, from how many episodes."""
    used, count = facts["samples_used"], facts["samples"]
    samples = count if used == count else f"{used} of {count}"
    return samples if facts["episodes"] == "unknown" else f"{samples} from {facts['episodes']} episodes"


def shapes_line(facts: Mapping[str, str]) -> str:
    """Shapes of a batch."""
    return f"hidden {facts['hidden']}, actions {facts['actions']}"


def run_line(facts: Mapping[str, str]) -> str:
    """What a training log holds, and what is known of its loss."""
    limits = f"; {facts['limits']}" if facts["limits"] else ""
    return f"{facts['rows']} rows of {facts['format']}, steps {facts['steps']}: {facts['series']}{limits}"


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
