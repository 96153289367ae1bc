"""The figures beside the rules' thresholds: where measurements lie on the calibration part, how often rules fire."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from energydiag.atomic import write_text
from energydiag.rules import rules

from .catalogue import runs
from .report import VIEWS, measurements_of, verdict_of
from .score import Verdict
from .work import DIAGNOSIS

Values = dict[str, float]


def write_calibration(out: Path, target: Path) -> int:
    """Writes ``calibration.json`` from the measured runs of the calibration part; returns how many there were.

    Single faults that took effect and healthy controls count, as everywhere else.
    """
    seen: list[tuple[Verdict, Values]] = []
    for run in runs("calibration"):
        folder = out / run.id
        if run.kind == "pair" or not (folder / DIAGNOSIS).exists():
            continue
        verdict = verdict_of(run, folder, VIEWS["both"])
        if verdict.counts:
            seen.append((verdict, {m.name: m.value for m in measurements_of(folder, VIEWS["both"])}))
    found = {code: _of_rule(code, (*rule.needs, *rule.optional), seen) for code, rule in rules().items()}
    write_text(target, json.dumps(found, indent=1, sort_keys=True) + "\n")
    return len(seen)


def _of_rule(code: str, names: Sequence[str], seen: Sequence[tuple[Verdict, Values]]) -> dict[str, Any]:
    well = [(v, values) for v, values in seen if not v.truth]
    # the codes that a fault accepts are in order: the first is the one that is meant for it
    ill = [(v, values) for v, values in seen if v.truth and v.accepted[0][0] == code]
    sides = {
        name: [_range(values[name] for _, values in side if name in values) for side in (well, ill)] for name in names
    }
    return {
        "measurements": {name: both for name, both in sides.items() if any(both)},
        "healthy": [sum(any(f.code == code for f in v.found) for v, _ in well), len(well)],
        "faulty": [sum(any(f.code == code for f in v.found) for v, _ in ill), len(ill)],
    }


def _range(values: Iterable[float]) -> list[float] | None:
    every = sorted(values)
    if not every:
        return None
    return [*(float(f"{v:.4g}") for v in (every[0], median(every), every[-1])), len(every)]
