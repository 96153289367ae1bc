"""SARIF against the schema of its standard, and what code scanning makes of a result."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from jsonschema import Draft7Validator, FormatChecker
from report_parts import TEXTS, Result, compared, diagnosis, drawn_diagnosis, every, fleet, repair, run_diagnosis
from schemas import SARIF, schema

from energydiag.reports import reports
from energydiag.reports.report import Look
from energydiag.results import Open


@cache
def validator() -> Draft7Validator:
    return Draft7Validator(schema(SARIF), format_checker=FormatChecker())


def render(result: Result) -> dict[str, Any]:
    text = reports()["sarif"].render(result, Look())
    assert text.endswith("}\n")
    plain: dict[str, Any] = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    return plain


def check(result: Result) -> dict[str, Any]:
    """The one run of a log that keeps to the schema."""
    log = render(result)
    errors = [f"{list(error.absolute_path)}: {error.message[:200]}" for error in validator().iter_errors(log)]
    assert not errors
    (run,) = log["runs"]
    for found in run["results"]:
        rule = run["tool"]["driver"]["rules"][found["ruleIndex"]]
        assert rule["id"] == found["ruleId"]
    return dict(run)


def test_it_is_the_standards_own_schema() -> None:
    assert str(schema(SARIF)["$id"]).endswith("oasis-tcs/sarif-spec/master/Schemata/sarif-schema-2.1.0.json")


@pytest.mark.parametrize("kind", list(every()))
def test_every_kind_keeps_to_the_schema(kind: str) -> None:
    for many in (1, 30):
        check(every(many=many)[kind])
    check(run_diagnosis())
    check(drawn_diagnosis())


@settings(max_examples=20, deadline=None)
@given(TEXTS)
@example("[a](https://example.org) {0} \\ ]( \x00\ud800")
def test_any_text_keeps_to_the_schema(text: str) -> None:
    for result in every(text).values():
        check(result)


def test_findings_are_results_and_rules() -> None:
    run = check(diagnosis())
    assert [(found["ruleId"], found["level"]) for found in run["results"]] == [("ED103", "error"), ("ED203", "warning")]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["ED103", "ED203"]
    assert run["tool"]["driver"]["rules"][0]["defaultConfiguration"] == {"level": "error"}
    first = run["results"][0]
    assert first["message"]["text"].startswith("The loss is 2.57, of which 2.25 is the floor.")
    place = first["locations"][0]["physicalLocation"]["artifactLocation"]
    assert place == {"uri": "runs/head_1.pt", "uriBaseId": "%SRCROOT%"}
    assert first["properties"]["evidence"]["loss.swap"] == "2.57 nat, 95 % interval 2.53 .. 2.6"


def test_a_healthy_result_has_none() -> None:
    run = check(replace(diagnosis(), verdict="healthy", findings=()))
    assert run["results"] == []
    assert run["invocations"][0]["executionSuccessful"] is True


def test_links_and_placeholders_are_text() -> None:
    run = check(diagnosis("see [here](https://example.org) {0}"))
    assert "\\[here\\](https://example.org) {{0}}" in run["results"][0]["message"]["text"]


def test_a_finding_is_known_again_but_not_in_another_file() -> None:
    def marks(path: str) -> list[str]:
        made = replace(diagnosis(), checkpoint=replace(diagnosis().checkpoint, path=path), created="later")
        return [found["partialFingerprints"]["energydiagFinding/v1"] for found in check(made)["results"]]

    assert marks("runs/head_1.pt") == [
        found["partialFingerprints"]["energydiagFinding/v1"] for found in check(diagnosis())["results"]
    ]
    assert len({*marks("runs/head_1.pt"), *marks("runs/head_2.pt")}) == 4


def test_files_are_named_from_the_working_folder_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path, uri in (
        (str(tmp_path / "a b" / "head.pt"), {"uri": "a%20b/head.pt", "uriBaseId": "%SRCROOT%"}),
        ("../head.pt", {"uri": "../head.pt"}),
        ("/elsewhere/ä.pt", {"uri": "file:///elsewhere/%C3%A4.pt"}),
    ):
        made = replace(diagnosis(), checkpoint=replace(diagnosis().checkpoint, path=path))
        assert check(made)["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"] == uri


def test_what_is_open_or_failed_is_a_notification() -> None:
    minor, deciding = (
        Open("Which objective?", "nothing says", "--objective", None),
        Open("Is it?", "a row", "more rows"),
    )
    run = check(replace(diagnosis(), open=(minor, deciding)))
    told = run["invocations"][0]["toolExecutionNotifications"]
    assert [result["level"] for result in run["results"] if result["ruleId"] == "undetermined"] == ["warning"]
    assert [(one["level"], one["message"]["text"]) for one in told] == [
        ("note", "Which objective? Nothing says. What would answer it: --objective."),
        ("none", "separation.supplied: the dump has no `negatives`"),
    ]
    broken = check(fleet())["invocations"][0]
    assert broken["executionSuccessful"] is False
    assert broken["toolExecutionNotifications"][0]["level"] == "error"


def test_regressions_are_results() -> None:
    after = check(repair())["results"]
    assert [found["ruleId"] for found in after] == ["repair", "regression", "ED103", "ED203"]
    sides = check(compared())["results"]
    assert [(found["ruleId"], found["level"]) for found in sides] == [("regression", "warning"), ("limit", "error")]
    assert check(replace(compared(), limits=()))["results"][0]["level"] == "error"
    assert sides[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "c.csv"


def test_the_run_says_where_it_comes_from() -> None:
    run = check(drawn_diagnosis())
    assert run["invocations"][0]["commandLine"].startswith("energydiag inspect")
    assert run["invocations"][0]["endTimeUtc"] == "2026-01-02T03:04:05Z"
    assert run["properties"]["provenance"]["versions"] == {"torch": "2.10"}
    odd = replace(drawn_diagnosis(), provenance={"tau": float("nan"), "deep": [[[[[[[[[[1]]]]]]]]]], "big": 10**200})
    assert check(odd)["properties"]["provenance"]["tau"] == "nan"
