"""A saved result of any kind, also of an older schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from energydiag.results.codec import built, plain
from energydiag.results.comparison import Comparison
from energydiag.results.diagnosis import BatchDiagnosis, CheckpointDiagnosis, Diagnosis, Open, RunDiagnosis
from energydiag.results.facts import BatchFacts, CheckpointFacts, RunFacts
from energydiag.results.fleet import Fleet
from energydiag.results.repair import Repair
from energydiag.results.result import SCHEMA_VERSION

Saved = Diagnosis | Repair | Fleet | Comparison

_KINDS: dict[str, type[Saved]] = {kind.kind: kind for kind in (Repair, Fleet, Comparison)}
_SUBJECTS: dict[str, type[Saved]] = {kind.subject: kind for kind in (CheckpointDiagnosis, RunDiagnosis, BatchDiagnosis)}


def saved_result(told: Mapping[str, Any]) -> Saved:
    """The result that was saved.

    Args:
        told: What its JSON holds, of schema 1 or 2.

    Raises:
        KeyError, TypeError, ValueError, AttributeError, OverflowError: It is none.
    """
    is_old = told["schema_version"] == 1
    newest = upgraded(told) if is_old else told
    kind = _SUBJECTS[newest["subject"]] if newest["kind"] == CheckpointDiagnosis.kind else _KINDS[newest["kind"]]
    return built(kind, newest, complete=not is_old)


def upgraded(told: Mapping[str, Any]) -> dict[str, Any]:
    """A result of schema 1, where facts were texts and one kind of diagnosis served checkpoints, runs and batches."""
    newest = {**told, "schema_version": SCHEMA_VERSION}
    if told["kind"] == CheckpointDiagnosis.kind:
        return _diagnosis(newest)
    if told["kind"] == Fleet.kind:
        rows = [{**row, "diagnosis": row["diagnosis"] and upgraded(row["diagnosis"])} for row in told["rows"]]
        return {**newest, "rows": rows, "batch": _batch(told["batch"])}
    if told["kind"] == Repair.kind:
        return {**newest, "arms": {name: upgraded(arm) for name, arm in told["arms"].items()}}
    return newest


def _diagnosis(told: dict[str, Any]) -> dict[str, Any]:
    # rules without an answer stood apart, and the verdict was passed without them
    without = [Open(one["name"], one["reason"], "", None, one["name"]) for one in told.pop("inconclusive", ())]
    told["open"] = [plain(question) for question in without]
    checkpoint, batch = told.pop("checkpoint"), told.pop("batch")
    if "run" in batch:
        first, _, last = batch["steps"].partition(" to ")
        facts = RunFacts(
            path=batch["run"],
            format=batch["format"],
            sha256=batch.get("sha256", ""),
            rows=int(batch["rows"]),
            first_step=float(first),
            last_step=float(last),
            series=tuple(batch["series"].split(", ")),
            limits=(batch["limits"],) if batch["limits"] else (),
        )
        return {**told, "subject": "run", "run": plain(facts)}
    if checkpoint:
        of = plain(CheckpointFacts.of(checkpoint))
        return {**told, "subject": "checkpoint", "checkpoint": of, "batch": _batch(batch)}
    return {**told, "subject": "batch", "batch": _batch(batch)}


def _batch(told: Mapping[str, str]) -> Any:
    counts: dict[str, Any] = {name: int(told[name]) for name in ("samples", "samples_used") if name in told}
    if told.get("episodes", "unknown") != "unknown":
        counts["episodes"] = int(told["episodes"])
    shapes: dict[str, Any] = {name: tuple(json.loads(told[name])) for name in ("hidden", "actions") if name in told}
    texts: dict[str, Any] = {name: told[name] for name in ("path", "format", "sha256") if name in told}
    return plain(BatchFacts(**texts, **counts, **shapes))
