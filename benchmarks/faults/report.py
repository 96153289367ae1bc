"""From the folders of runs to ``results.json`` and the figures of the confusion matrices."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from energydiag.atomic import write_text, write_with
from energydiag.results import Measurement
from energydiag.rules import judge, rules

from .catalogue import HELD_OUT, Run, runs
from .score import Named, Verdict, confusion, summary
from .work import DIAGNOSIS, LOG_DIAGNOSIS, read_facts

VIEWS = {"both": (DIAGNOSIS, LOG_DIAGNOSIS), "checkpoint": (DIAGNOSIS,), "log": (LOG_DIAGNOSIS,)}
"""What a diagnosis may look at; the measurements of both are judged together."""


def write_results(out: Path, results: Path) -> list[str]:
    """Judges all measured runs by the rules as they are now and writes what came out.

    Args:
        out: The folder of the runs.
        results: The JSON file; keys that are not this module's, and parts of which the folder holds no run, stay as
            they are. Figures are written beside it.

    Returns:
        Lines for the terminal.
    """
    by_view = {view: verdicts_of(out, view) for view in VIEWS}
    found: dict[str, Any] = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    found = {"peers": {}, "repair": {}} | found
    there = [part for part in ("test", "calibration") if _of_part(by_view["both"], part)]
    for part in there:
        found[part] = summary(_of_part(by_view["both"], part))
        for view in ("checkpoint", "log"):
            found[part][f"{view}_only"] = summary(_visible_in(_of_part(by_view[view], part), view))
    if "test" in there:
        tested = _of_part(by_view["both"], "test")
        found["test"]["held_out_architectures"] = summary([v for v in tested if v.architecture in HELD_OUT])
        found["test"]["seen_architectures"] = summary([v for v in tested if v.architecture not in HELD_OUT])
    write_text(results, json.dumps(found, indent=1) + "\n")
    for part in there:
        figure = results.with_name(f"confusion-{part}.png")
        _draw(_of_part(by_view["both"], part), f"{part}: first finding, by what was injected", figure)
    return [_line(part, found[part]) for part in there]


def verdicts_of(out: Path, view: str) -> list[Verdict]:
    """What the rules say now of every measured run, looking at one view of it."""
    folders = ((run, out / run.id) for run in runs())
    return [verdict_of(run, folder, VIEWS[view]) for run, folder in folders if (folder / DIAGNOSIS).exists()]


def verdict_of(run: Run, folder: Path, files: Sequence[str]) -> Verdict:
    """What the rules say now of one measured run."""
    findings = judge(measurements_of(folder, files)).findings
    return Verdict(
        id=run.id,
        kind=run.kind,
        truth=tuple(fault.name for fault in run.faults),
        accepted=tuple(fault.codes for fault in run.faults),
        effective=run.took_effect(read_facts(folder)),
        found=tuple(Named(f.code, f.name, f.severity == "critical") for f in findings),
        architecture=run.cell.architecture,
        part=run.cell.part,
        failed=len(_told(folder, files)) < len(files),
    )


def measurements_of(folder: Path, files: Sequence[str]) -> list[Measurement]:
    """All that was measured of a run."""
    return [
        Measurement(**{**plain, "ci95": tuple(plain["ci95"]) if plain["ci95"] else None})
        for diagnosis in _told(folder, files)
        for plain in diagnosis["measurements"]
    ]


def _told(folder: Path, files: Sequence[str]) -> list[dict[str, Any]]:
    read = [json.loads((folder / name).read_text(encoding="utf-8")) for name in files]
    return [diagnosis for diagnosis in read if diagnosis["kind"] != "failure"]


def _of_part(verdicts: Iterable[Verdict], part: str) -> list[Verdict]:
    return [v for v in verdicts if v.part == part]


def _visible_in(verdicts: Iterable[Verdict], view: str) -> list[Verdict]:
    """Controls, and the runs whose faults can all be seen there."""
    visible = {run.id: all(view in fault.visible_in for fault in run.faults) for run in runs()}
    return [v for v in verdicts if visible[v.id]]


def _draw(verdicts: Sequence[Verdict], title: str, path: Path) -> None:
    from matplotlib.figure import Figure

    truths, roots, counts = confusion(verdicts)
    if not truths:
        return
    figure = Figure(figsize=(2 + 0.3 * len(roots), 1.5 + 0.22 * len(truths)), layout="constrained")
    axes = figure.subplots()
    shares = counts / counts.sum(axis=1, keepdims=True)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row in range(len(truths)):
        for column in range(len(roots)):
            if counts[row, column]:
                colour = "white" if shares[row, column] > 0.6 else "black"
                axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=7, color=colour)
    known = rules()
    named = [f"{known[code].name} {code}" if code in known else code for code in roots]
    axes.set_xticks(range(len(roots)), named, rotation=90, fontsize=7)
    axes.set_yticks(range(len(truths)), truths, fontsize=7)
    axes.set_title(title, fontsize=9)
    write_with(path, lambda temporary: figure.savefig(temporary, dpi=120, format="png"))


def _line(part: str, found: dict[str, Any]) -> str:
    names = ("macro_recall", "macro_precision", "root_cause_top1", "healthy_without_critical")
    return f"{part}: " + ", ".join(
        f"{name} {found[name]['value']} ({found[name]['ci95'][0]} to {found[name]['ci95'][1]}, n {found[name]['n']})"
        for name in names
    )
