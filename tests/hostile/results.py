"""Saved results that no energydiag wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hostile.registry import Payload, hostile, register, written
from hostile.truncated import result_text


def _file(folder: Path, content: Any) -> Path:
    text = content if isinstance(content, str) else json.dumps(content)
    return written(folder, "result.json", text.encode("utf-8", "surrogatepass"))


def _changed(folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """A good diagnosis but for one thing."""
    plain = json.loads(result_text())
    change(plain)
    return _file(folder, plain)


_DEEP: Any = 1
for _ in range(900):
    _DEEP = [_DEEP]

MEASUREMENT = {"name": "auroc.swap", "value": 0.5, "unit": "1", "n": 6, "ci95": [0.4, 0.6], "source": None}

CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "kind_lies": lambda r: r.update(kind="repair"),
    "kind_unknown": lambda r: r.update(kind="\x1b[31mother"),
    "kind_is_a_list": lambda r: r.update(kind=["diagnosis"]),
    "verdict_unknown": lambda r: r.update(verdict="fine"),
    "verdict_is_an_object": lambda r: r.update(verdict={}),
    "checkpoint_is_a_list": lambda r: r.update(checkpoint=[1]),
    "checkpoint_without_its_words": lambda r: r.update(checkpoint={"path": "x"}),
    "checkpoint_of_numbers": lambda r: r.update(
        checkpoint={"path": 3, "parameters": 4, "architecture": 5, "energy": 6}
    ),
    "batch_is_none": lambda r: r.update(batch=None),
    "batch_is_empty": lambda r: r.update(batch={}),
    "batch_of_numbers": lambda r: r.update(batch={"run": 3}),
    "run_without_its_words": lambda r: r.update(batch={"run": "x"}),
    "measurements_are_text": lambda r: r.update(measurements="abc"),
    "measurements_are_an_object": lambda r: r.update(measurements={"name": 1}),
    "measurement_is_a_number": lambda r: r.update(measurements=[3]),
    "measurement_name_is_a_list": lambda r: r["measurements"][0].update(name=["a"]),
    "measurement_value_is_text": lambda r: r["measurements"][0].update(value="0.5"),
    "measurement_value_is_none": lambda r: r["measurements"][0].update(value=None),
    "measurement_value_is_huge": lambda r: r["measurements"][0].update(value=10**400),
    "measurement_interval_of_one": lambda r: r["measurements"][0].update(ci95=[1]),
    "measurement_interval_of_text": lambda r: r["measurements"][0].update(ci95="ab"),
    "measurement_interval_of_objects": lambda r: r["measurements"][0].update(ci95=[{}, {}]),
    "measurement_unit_is_an_object": lambda r: r["measurements"][0].update(unit={"a": 1}),
    "measurement_with_more": lambda r: r["measurements"][0].update(evil=1),
    "finding_severity_unknown": lambda r: r["findings"][0].update(severity="deadly"),
    "finding_severity_is_a_list": lambda r: r["findings"][0].update(severity=["critical"]),
    "finding_summary_is_none": lambda r: r["findings"][0].update(summary=None),
    "finding_cause_is_a_number": lambda r: r["findings"][0].update(cause=3),
    "finding_code_is_an_object": lambda r: r["findings"][0].update(code={}),
    "finding_evidence_is_a_number": lambda r: r["findings"][0].update(evidence=3),
    "finding_evidence_of_lists": lambda r: r["findings"][0].update(evidence=[[1]]),
    "finding_fixes_of_numbers": lambda r: r["findings"][0].update(fixes=[1, 2]),
    "finding_healthy_is_a_list": lambda r: r["findings"][0].update(healthy=["a"]),
    "finding_healthy_of_numbers": lambda r: r["findings"][0].update(healthy={"auroc.swap": 3}),
    "findings_are_deep": lambda r: r.update(findings=_DEEP),
    "skipped_reason_is_none": lambda r: r.update(skipped=[{"name": "a", "reason": None}]),
    "skipped_name_is_a_list": lambda r: r.update(skipped=[{"name": ["a"], "reason": "b"}]),
    "notes_of_numbers": lambda r: r.update(notes=[1, None]),
    "notes_are_a_number": lambda r: r.update(notes=3),
    "open_is_none": lambda r: r.update(open=None),
    "distributions_are_objects": lambda r: r.update(distributions=[{"name": 1}]),
    "curve_of_text": lambda r: r.update(curves=[{"name": "run.loss", "x": "ab", "y": "cd"}, 3]),
    "created_is_a_number": lambda r: r.update(created=3),
    "version_is_a_list": lambda r: r.update(energydiag_version=[]),
    "version_of_the_schema_is_text": lambda r: r.update(schema_version="1"),
    "version_of_the_schema_is_huge": lambda r: r.update(schema_version="9" * 100_000),
    "provenance_is_missing": lambda r: r.pop("provenance"),
    "everything_is_missing": lambda r: r.clear(),
}

for _name, _change in CHANGES.items():
    register(Payload(f"results:{_name}", partial(_changed, change=_change), ("report",)))

TEXTS = {
    "deep_lists": "[" * 300_000,
    "deep_objects": '{"a":' * 300_000 + "1" + "}" * 300_000,
    "number_of_a_million_digits": "9" * 1_000_000,
    "nan": "NaN",
    "a_list": "[1, 2]",
    "text": '"diagnosis"',
    "half_a_character": '{"schema_version": "\\ud800"}',
    "zeros": "\0" * 1000,
    "long_version": '{"schema_version": "' + "v" * 5_000_000 + '"}',
    "key_that_is_named_back": '{"schema_version": 1, "kind": "diagnosis", "verdict": "' + "\\u001b[2J" * 1000 + '"}',
}

for _name, _text in TEXTS.items():
    register(Payload(f"results:{_name}", partial(_file, content=_text), ("report",)))


@hostile("report")
def a_pickle(folder: Path) -> Path:
    from hostile.pickles import a_global
    from hostile.registry import MARKER

    return written(folder, "result.json", a_global(str(folder / MARKER)))


def _repair(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """A good repair but for one thing."""
    comparison = {
        "sides": ["control", "after"],
        "verdict": "improved",
        "metrics": [
            {
                "name": "auroc.swap",
                "values": {"control": 0.5, "after": 0.6},
                "delta": 0.1,
                "ci95": None,
                "better": "higher",
                "verdict": "improved",
            }
        ],
    }
    plain: dict[str, Any] = {
        "schema_version": 1,
        "kind": "repair",
        "verdict": "improved",
        "accepted": True,
        "reasons": ["r"],
        "applied": [{"fix": "linear-head", "parameters": {}, "handles": ["ED101"]}],
        "skipped": [],
        "arms": {"before": json.loads(result_text())},
        "comparison": comparison,
        "against_before": None,
        "ablation": [],
        "checkpoint": "x",
        "plan": {},
        "curves": [],
        "provenance": {},
        "created": "",
        "energydiag_version": "0",
    }
    change(plain)
    return plain


def repair_text() -> str:
    """A saved repair."""
    return json.dumps(_repair(lambda whole: whole))


def fleet_text() -> str:
    """A saved measurement of several checkpoints, one of which could not be read."""
    from energydiag.results import CheckpointDiagnosis, Fleet, Inspected

    whole = CheckpointDiagnosis.from_dict(json.loads(result_text()))
    rows = (Inspected("a.pt", 1, whole), Inspected("b.pt", 2, whole), Inspected("c.pt", None, None, "e", "n"))
    return Fleet(rows=rows, batch=whole.batch, created=whole.created, energydiag_version="0").to_json()


REPAIRS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "verdict_unknown": lambda r: r.update(verdict="done"),
    "verdict_is_a_number": lambda r: r.update(verdict=3),
    "reasons_of_numbers": lambda r: r.update(reasons=[1]),
    "arms_are_a_list": lambda r: r.update(arms=[1]),
    "arm_is_a_number": lambda r: r.update(arms={"before": 1}),
    "sides_of_three": lambda r: r["comparison"].update(sides=["a", "b", "c"]),
    "sides_are_none": lambda r: r["comparison"].update(sides=None),
    "delta_is_text": lambda r: r["comparison"]["metrics"][0].update(delta="0.1"),
    "values_are_a_list": lambda r: r["comparison"]["metrics"][0].update(values=[1]),
    "values_of_text": lambda r: r["comparison"]["metrics"][0].update(values={"a": "b"}),
    "metric_verdict_is_a_list": lambda r: r["comparison"]["metrics"][0].update(verdict=[1]),
    "fix_is_a_list": lambda r: r["applied"][0].update(fix=["a"]),
    "handles_of_numbers": lambda r: r["applied"][0].update(handles=[1]),
    "checkpoint_is_an_object": lambda r: r.update(checkpoint={"a": 1}),
}

for _name, _change in REPAIRS.items():
    register(Payload(f"results:repair_{_name}", partial(_file, content=_repair(_change)), ("report",)))


@hostile("report")
def step_of_a_fleet_is_infinite(folder: Path) -> Path:
    return _file(folder, fleet_text().replace('"step": 1,', '"step": 1e999,'))
