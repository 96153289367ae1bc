"""What every format says of several checkpoints in the same words."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath

from energydiag.metrics import sweep_columns
from energydiag.reports.wording import identity_line, samples_line
from energydiag.results import Finding, Fleet, Inspected


def fleet_headline(fleet: Fleet) -> str:
    """First line: how many are how bad."""
    count, told = len(fleet.rows), len(fleet.diagnosed)
    if not count:
        return "NOTHING: no checkpoint falls to this part"
    if not told:
        return f"UNKNOWN: none of {_counted(count)} could be measured"
    verdicts = [row.diagnosis.verdict for row in fleet.rows if row.diagnosis is not None]
    if "critical" in verdicts:
        return f"CRITICAL: {verdicts.count('critical')} of {_counted(count)} cannot be relied on"
    if "undetermined" in verdicts:
        return f"UNDETERMINED: questions are open in {verdicts.count('undetermined')} of {_counted(count)}"
    if "warning" in verdicts:
        return f"WARNING: something needs attention in {verdicts.count('warning')} of {_counted(count)}"
    return f"HEALTHY: no fault found in {_counted(told)}"


def failed_line(fleet: Fleet) -> str:
    """How many could not be measured; empty where all were."""
    count = len(fleet.failed)
    return f"{count} of {_counted(len(fleet.rows))} {'has' if count == 1 else 'have'} no result" if count else ""


def fleet_identity(fleet: Fleet) -> str:
    """What is proven of the models, by the checkpoint that it was proven on; else what was assumed of the first."""
    told = [(row, row.diagnosis.checkpoint) for row in fleet.rows if row.diagnosis is not None]
    told.sort(key=lambda each: each[1].identity != "same")
    if not told or not identity_line(told[0][1]):
        return ""
    row, facts = told[0]
    return f"{PurePath(row.checkpoint).name}: {identity_line(facts)}" if len(told) > 1 else identity_line(facts)


def _counted(count: int) -> str:
    return f"{count} checkpoint{'' if count == 1 else 's'}"


def batch_line(fleet: Fleet) -> str:
    """What all were measured on."""
    facts = fleet.batch
    samples = samples_line(facts) if facts.samples else ""
    return ": ".join(part for part in (facts.path, samples) if part)


def labels(rows: Sequence[Inspected]) -> list[str]:
    """What tells the checkpoints apart: their names, or as much of the paths as is needed."""
    paths = [PurePath(row.checkpoint) for row in rows]
    names = [path.name for path in paths]
    if len(set(names)) == len(names):
        return names
    try:
        common = os.path.commonpath([path.parent for path in paths])
    except ValueError:  # some absolute, some not
        return [str(path) for path in paths]
    return [str(path.relative_to(common)) if common else str(path) for path in paths]


def step_text(row: Inspected) -> str:
    """The step, or a dash."""
    return "–" if row.step is None else str(row.step)


def shown_numbers(fleet: Fleet) -> list[str]:
    """The columns that at least one checkpoint has."""
    return [name for name in sweep_columns() if any(row.value(name) is not None for row in fleet.rows)]


def numbers(row: Inspected, names: Iterable[str]) -> list[str]:
    """A checkpoint's values, in about six characters each."""
    values = [row.value(name) for name in names]
    return ["" if value is None else _compact(value) for value in values]


def _compact(value: float) -> str:
    if value == 0 or not 1e-3 <= abs(value) < 1e3:
        return "0" if value == 0 else f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def root_findings(fleet: Fleet) -> Mapping[str, tuple[Finding, tuple[Inspected, ...]]]:
    """What stands first, by code in the order of the rows: the first such finding, and the checkpoints that have it."""
    found: dict[str, tuple[Finding, tuple[Inspected, ...]]] = {}
    for row in fleet.rows:
        if row.root is not None:
            first, others = found.get(row.root.code, (row.root, ()))
            found[row.root.code] = first, (*others, row)
    return found


def reasons(fleet: Fleet) -> Mapping[tuple[str, str], tuple[Inspected, ...]]:
    """Why there is no result and what to do, with the checkpoints that it is so for."""
    found: dict[tuple[str, str], tuple[Inspected, ...]] = {}
    for row in fleet.failed:
        key = row.error, row.next_step
        found[key] = (*found.get(key, ()), row)
    return found


def listed(names: Sequence[str], most: int = 8) -> str:
    """Names in a row, the first ones where they are many."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
