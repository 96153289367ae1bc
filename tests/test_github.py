"""Annotations for GitHub Actions: what its runner reads from them is what was meant, whatever a file says."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from report_parts import TEXTS, Result, compared, diagnosis, every, fleet, repair

from energydiag.reports import reports
from energydiag.reports.report import Look


def lines(result: Result) -> list[str]:
    text = reports()["github"].render(result, Look())
    assert text.endswith("\n")
    return text.removesuffix("\n").split("\n")


def read(line: str) -> tuple[str, dict[str, str], str]:
    """A command as the runner reads it: its name, its properties and its data, unescaped."""
    found = re.fullmatch(r"::([a-z]+) ([^:]*(?::(?!:)[^:]*)*)::(.*)", line, re.DOTALL)
    assert found, line
    properties = dict(part.split("=", 1) for part in found[2].split(","))

    def back(text: str, codes: str) -> str:
        for code in codes.split():
            text = text.replace(f"%{code}", chr(int(code, 16)))
        return text.replace("%25", "%")

    return found[1], {name: back(text, "0D 0A 3A 2C") for name, text in properties.items()}, back(found[3], "0D 0A")


def test_findings_are_errors_and_warnings() -> None:
    first, second = (read(line) for line in lines(diagnosis()))
    assert (first[0], first[1]) == ("error", {"file": "runs/head_1.pt", "title": "ED103 loss-at-floor"})
    assert first[2].split("\n") == [
        "The loss is 2.57, of which 2.25 is the floor.",
        "Why: The head's energy range is too narrow for this temperature.",
        "Fix: linear-head (or softplus-head)",
    ]
    assert (second[0], "Explained by ED103." in second[2]) == ("warning", True)


def test_a_healthy_model_is_a_notice() -> None:
    (only,) = lines(replace(diagnosis(), verdict="healthy", findings=()))
    told = "HEALTHY: no fault found in runs/head_1.pt"
    assert read(only) == ("notice", {"file": "runs/head_1.pt", "title": "energydiag"}, told)


def test_every_kind_says_whether_it_is_well() -> None:
    assert [read(line)[0] for line in lines(repair())] == ["error", "warning"]
    assert read(lines(replace(repair(), accepted=True, verdict="healed"))[0])[0] == "warning"
    assert [read(line)[0] for line in lines(fleet())] == ["error", "error", "warning"]
    assert [read(line)[0] for line in lines(compared())] == ["error", "error", "warning"]
    better = replace(compared(), verdict="improved", metrics=compared().metrics[:1], limits=())
    assert [read(line)[0] for line in lines(better)] == ["notice"]


def test_at_most_ten_of_a_level() -> None:
    told = [read(line) for line in lines(fleet(many=50))]
    levels = [level for level, _, _ in told]
    assert levels.count("error") == 10
    assert told[9][2] == "42 more are in the Markdown, SARIF and JSON results."


def test_files_outside_the_repository_are_not_named() -> None:
    for path in ("/elsewhere/head.pt", "../head.pt"):
        made = replace(diagnosis(), checkpoint=replace(diagnosis().checkpoint, path=path))
        assert "file" not in read(lines(made)[0])[1]


@settings(max_examples=60)
@given(TEXTS)
@example("a\n::set-output name=x::y\n##[add-mask]z")
@example("100% ,title=x::file=y%0A::error::")
@example("\r\x85\u2028::stop-commands::x")
@pytest.mark.parametrize("kind", list(every()))
def test_any_text_stays_in_its_place(kind: str, text: str) -> None:
    usual = {read(line)[0] for line in lines(every()[kind])} | {"notice", "warning", "error"}
    told = lines(every(text)[kind])
    assert len(told) <= 30
    for line in told:
        level, properties, _ = read(line)
        assert level in usual
        assert set(properties) <= {"file", "title"}
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", line)
