"""From what peers said to ``peers`` in ``results.json``, by the functions that count for energydiag."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from energydiag.atomic import write_text

from ..catalogue import Run, runs
from ..report import VIEWS, verdict_of
from ..score import Named, Verdict, summary
from ..work import DIAGNOSIS, read_facts
from .mapping import PEERS, Peer
from .work import is_done, read_found

QUIET = 0.1
"""On which share of the healthy controls a quiet kind of finding may stand."""

SHORT = ("macro_recall", "macro_root_cause_top1", "root_cause_top1", "macro_precision")


def chosen_runs() -> list[Run]:
    """Single faults and controls of the test part."""
    return [run for run in runs("test") if run.kind != "pair"]


def write_scores(finished: Path, out: Path, results: Path) -> list[str]:
    """Counts what there is and puts it under ``peers``; everything else in the file stays as it is.

    Args:
        finished: The folder of the benchmark's own runs, for their facts.
        out: The folder of what peers said.
        results: The JSON file.

    Returns:
        Lines for the terminal.
    """
    every = chosen_runs()
    there = [run for run in every if is_done(finished / run.id, out / f"{run.id}.json")]
    told = [json.loads((out / f"{run.id}.json").read_text(encoding="utf-8")) for run in there]
    common = {
        "runs": {"watched": len(there), "of": len(every)},
        "energydiag_on_the_same_runs": _ours(there, finished),
        "versions": told[-1]["versions"] if told else {},
        "effective_as_in_the_stored_run": _agreement(there, told, finished),
    }
    found: dict[str, Any] = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    peers = found.setdefault("peers", {})
    for peer in PEERS:
        peers[peer.name] = common | score(peer, [verdict(peer, run, finished, out) for run in there])
    write_text(results, json.dumps(found, indent=1) + "\n")
    return [f"{len(there)} of {len(every)} runs", *(_line(peer.name, peers[peer.name]) for peer in PEERS)]


def verdict(peer: Peer, run: Run, finished: Path, out: Path) -> Verdict:
    """What a peer says of a run beside what is true of it."""
    path = out / f"{run.id}.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    return Verdict(
        id=run.id,
        kind=run.kind,
        truth=tuple(fault.name for fault in run.faults),
        accepted=tuple(peer.accepted(fault.name) for fault in run.faults),
        effective=run.took_effect(read_facts(finished / run.id)),
        found=tuple(
            Named(found.kind, found.kind, found.severity in peer.critical)
            for found in peer.keep(read_found(path, peer.stored))
        ),
        architecture=run.cell.architecture,
        part=run.cell.part,
        failed="failed" in told or peer.stored in told.get("failures", {}),
    )


def score(peer: Peer, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """`summary`, and the short of it twice more.

    ``in_its_scope`` is about the faults alone that some finding of the peer would be right for. ``quiet_on_healthy`` is
    about the kinds of finding alone that stand on no more than a tenth of the healthy controls: recall is cheap for a
    finding that stands on everything.
    """
    scope = [v for v in verdicts if v.kind == "healthy" or v.truth[0] in peer.scope]
    loud = kinds_on_healthy(verdicts)
    quiet = [replace(v, found=tuple(f for f in v.found if loud.get(f.code, 0) <= QUIET)) for v in verdicts]
    within, calmer = summary(scope), summary(quiet)
    return {
        "critical_means": list(peer.critical),
        **summary(verdicts),
        "in_its_scope": {"faults": sorted(peer.scope), **{key: within[key] for key in SHORT}},
        "kinds_on_healthy": loud,
        "quiet_on_healthy": {key: calmer[key] for key in SHORT},
    }


def kinds_on_healthy(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """The share of the healthy controls on which a kind of finding stands, most frequent first."""
    controls = [v for v in verdicts if v.kind == "healthy" and v.counts]
    counts = Counter(kind for v in controls for kind in {f.code for f in v.found})
    return {kind: round(count / len(controls), 4) for kind, count in counts.most_common()}


def _ours(there: Sequence[Run], finished: Path) -> dict[str, Any]:
    """The short of what energydiag says of these runs, as far as they were measured."""
    measured = [run for run in there if (finished / run.id / DIAGNOSIS).exists()]
    found = summary([verdict_of(run, finished / run.id, VIEWS["both"]) for run in measured])
    return {key: found[key] for key in (*SHORT, "healthy_without_critical")}


def _agreement(there: Sequence[Run], told: Sequence[dict[str, Any]], finished: Path) -> dict[str, int]:
    """In how many runs the training with peers came out as the stored one did: fault took hold, control well."""
    same = [
        plain["effective"] == all(run.took_effect(read_facts(finished / run.id)))
        for run, plain in zip(there, told, strict=True)
        if "effective" in plain
    ]
    return {"runs": sum(same), "of": len(same)}


def _line(name: str, found: dict[str, Any]) -> str:
    keys = ("macro_recall", "macro_precision", "root_cause_top1", "healthy_without_critical")
    return f"{name}: " + ", ".join(
        f"{key} {found[key]['value']} ({found[key]['ci95'][0]} to {found[key]['ci95'][1]}, n {found[key]['n']})"
        for key in keys
    )
