"""Markdown and JUnit: the whole text of one result of each kind, and that nothing in a stranger's text breaks it."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from markdown_it import MarkdownIt
from report_parts import TEXTS, Result, compared, diagnosis, every, fleet, repair

from energydiag.cli import main
from energydiag.reports import reports
from energydiag.reports.markdown import code, one_line, plain
from energydiag.reports.report import Look
from energydiag.results import Measurement

GOLDEN = Path(__file__).resolve().parent / "golden"
COMMENT_LIMIT = 64 * 1024


def render(format: str, result: Result, look: Look | None = None) -> str:
    return reports()[format].render(result, look or Look())


@pytest.mark.parametrize(
    ("file", "format", "result", "next_command"),
    [
        (
            "diagnosis.md",
            "md",
            diagnosis(),
            "energydiag rules ED103\nenergydiag fix-and-retrain head.pt --out repaired/",
        ),
        ("diagnosis.xml", "junit", diagnosis(), None),
        ("repair.md", "md", repair(), "energydiag inspect checkpoint repaired/repaired.safetensors"),
        ("repair.xml", "junit", repair(), None),
        ("fleet.md", "md", fleet(), "energydiag inspect checkpoint runs/step_0.pt --batch dump.safetensors"),
        ("comparison.md", "md", compared(), None),
        ("comparison.xml", "junit", compared(), None),
        ("comparison.txt", "text", compared(), None),
        ("diagnosis.github", "github", diagnosis(), None),
        ("fleet.github", "github", fleet(), None),
        ("comparison.github", "github", compared(), None),
        ("diagnosis.sarif", "sarif", diagnosis(), None),
        ("comparison.sarif", "sarif", compared(), None),
    ],
)
def test_whole_text(file: str, format: str, result: Result, next_command: str | None) -> None:
    assert render(format, result, Look(next_command=next_command)) == (GOLDEN / file).read_text(encoding="utf-8")


def test_a_healthy_model_is_short_and_passes() -> None:
    healthy = replace(diagnosis(), verdict="healthy", findings=(), skipped=(), notes=())
    shown, _, rest = render("md", healthy).partition("\n<details>")
    assert shown.splitlines() == [
        "## HEALTHY: no fault found",
        "",
        "checkpoint `runs/head_1.pt`, batch `dump.safetensors`, samples: 300 of 320 from 72 episodes",
    ]
    assert rest.count("<details>") == 0
    suite = ElementTree.fromstring(render("junit", healthy))
    assert [case.get("name") for case in suite.iter("testcase")] == ["HEALTHY: no fault found"]
    assert suite.get("failures") == "0"


def test_details_lists_every_measurement() -> None:
    made = replace(
        diagnosis(), measurements=(*diagnosis().measurements, Measurement("loss.noise_0.1", 1.5, "nat", 300))
    )
    assert "loss.noise" not in render("md", made)
    assert "| `loss.noise_0.1` | 1.5 nat |  | 300 |" in render("md", made, Look(details=True))


def test_nothing_done_and_accepted_repairs_pass() -> None:
    idle = replace(
        repair(),
        verdict="healed",
        accepted=True,
        applied=(),
        arms={},
        comparison=None,
        against_before=None,
        ablation=(),
    )
    assert render("md", idle).startswith("## HEALED: nothing needs fixing\n")
    cases = list(ElementTree.fromstring(render("junit", idle)).iter("testcase"))
    assert [(case.get("name"), case.find("failure")) for case in cases] == [("repair", None)]


def test_a_saved_result_is_drawn_in_both_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for result in (diagnosis(), repair()):
        saved, shown, cases = (tmp_path / f"{result.kind}.{kind}" for kind in ("json", "md", "xml"))
        saved.write_text(result.to_json(), encoding="utf-8")
        arguments = ("report", saved, "--format", f"md={shown}", "--format", f"junit={cases}")
        monkeypatch.setattr(sys, "argv", ["energydiag", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 0
        assert shown.read_text(encoding="utf-8") == render("md", result)
        assert cases.read_text(encoding="utf-8") == render("junit", result)


def markdown() -> MarkdownIt:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"])


@given(TEXTS)
@example("\\|\\*a\\")
@example("[a](b) ![a](b) <b>`c`</b> **d** &#124; ~~e~~")
@example("12) a &amp; _b_ *c*")
def test_plain_text_is_read_as_this_text(text: str) -> None:
    """At the start of a line, in a list, behind bold words, in a cell: the reader sees the text and nothing else."""
    line = one_line(text)
    places = {
        "{}": line,
        "- {}": line,
        "**Why:** {}": f"Why: {line}".rstrip(),
        "| a | b |\n| --- | --- |\n| {} | x |": f"ab{line}x",
    }
    for place, expected in places.items():
        tokens = markdown().parse(place.format(plain(text)))
        inner = [child for token in tokens for child in token.children or ()]
        assert {child.type for child in inner} <= {"text", "strong_open", "strong_close"}
        assert "".join(child.content for child in inner).replace("\N{WORD JOINER}", "") == expected


@given(TEXTS)
def test_code_is_code_or_plain_text(text: str) -> None:
    inner = [child for token in markdown().parse(f"- {code(text)}") for child in token.children or ()]
    assert {child.type for child in inner} <= {"text", "code_inline"}


@pytest.mark.parametrize("text", ["@maintainer", "see #12", "https://example.org", "www.example.org", "GH-12"])
def test_github_links_nothing(text: str) -> None:
    shown = "".join(child.content for token in markdown().parse(plain(text)) for child in token.children or ())
    assert not re.search(r"@\w|#\d|://|www\.\w|GH-\d", shown)


def check_markdown(shown: str, *, details: int | None) -> None:
    """Small enough, every row as wide as its header, and nothing in it but what the report itself wrote."""
    assert len(shown.encode()) < COMMENT_LIMIT
    tokens = markdown().parse(shown)
    lines = shown.split("\n")
    for token in tokens:
        if token.type == "fence" and token.map:  # commands, in which anything may stand
            lines[slice(*token.map)] = [""] * (token.map[1] - token.map[0])
    blocks = re.findall(r"^\|.*(?:\n\|.*)*", "\n".join(lines), re.MULTILINE)
    assert blocks
    for block in blocks:
        assert len({line.count("|") for line in block.split("\n")}) == 1
    assert sum(token.type == "table_open" for token in tokens) == len(blocks)
    assert sum(token.type == "tr_open" for token in tokens) == sum(block.count("\n") for block in blocks)
    inner = {child.type for token in tokens for child in token.children or ()}
    assert inner <= {"text", "code_inline", "strong_open", "strong_close", "em_open", "em_close"}
    html = [token.content.strip() for token in tokens if token.type == "html_block"]
    assert all(re.fullmatch(r"<details>\n<summary>[^<>\n]*</summary>|</details>", block) for block in html)
    assert details is None or len(html) == 2 * details  # which parts a comparison has depends on its names


@given(TEXTS, TEXTS)
def test_any_text_leaves_markdown_whole(text: str, command: str) -> None:
    look = Look(next_command=command, details=True)
    check_markdown(render("md", diagnosis(text), look), details=2)
    check_markdown(render("md", repair(text), look), details=4)
    check_markdown(render("md", fleet(text), look), details=0)
    check_markdown(render("md", compared(text), look), details=None)


@given(TEXTS)
def test_any_text_leaves_junit_readable(text: str) -> None:
    for result, tests, failures in ((diagnosis(text), 3, 1), (repair(text), 5, 2)):
        top = ElementTree.fromstring(render("junit", result).encode())
        assert (top.tag, top.get("tests"), top.get("failures")) == ("testsuites", str(tests), str(failures))
        assert len(list(top.iter("testcase"))) == tests
        assert len(list(top.iter("failure"))) == failures
        assert {e.tag for e in top.iter()} <= {
            *("testsuites", "testsuite", "testcase", "failure", "skipped", "system-out")
        }


@pytest.mark.parametrize(
    ("text", "many"), [(None, 400), ("|" * 20_000, 20), ("@" * 500, 60), ("\ud800" * 400, 60), ("a\n" * 10_000, 40)]
)
def test_long_results_are_cut_and_say_so(text: str | None, many: int) -> None:
    for result in every(text, many).values():
        shown = render("md", result, Look(details=True, next_command=text))
        assert len(shown.encode()) < COMMENT_LIMIT
        assert "in the JSON result" in shown or "the JSON result holds everything" in shown
        check_markdown(shown, details=None)


def test_a_long_table_says_how_many_rows_are_missing() -> None:
    names = [f"separation.auroc.source_{i}" for i in range(2000)]
    made = replace(diagnosis(), measurements=tuple(Measurement(name, 0.5, "1", 300) for name in names))
    shown = render("md", made, Look(details=True))
    kept = shown.count("separation.auroc.source_")
    assert kept > 100
    assert f"*{2000 - kept} more rows are in the JSON result.*" in shown


def test_a_table_of_a_night_holds_hundreds_of_checkpoints() -> None:
    shown = render("md", fleet(many=400))
    kept = shown.count("| `step_")
    assert kept > 250
    assert f"*{801 - kept} more rows are in the JSON result.*" in shown
    assert len(shown.encode()) < COMMENT_LIMIT


@pytest.mark.parametrize("format", list(reports()))
def test_a_comparison_of_nothing_is_told(format: str) -> None:
    """A file may hold sides without numbers, and numbers without sides."""
    bare = replace(compared(), sides=(), metrics=(), rankings=(), differences=(), bands=(), limits=(), notes=())
    odd = replace(compared(), metrics=tuple(replace(m, values={}) for m in compared().metrics))
    for made in (bare, odd, replace(bare, sides=compared().sides[:1]), replace(odd, verdict="incomparable")):
        assert render(format, made, Look(details=True)).endswith("\n")
