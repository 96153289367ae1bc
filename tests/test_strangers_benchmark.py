"""The benchmark of strangers' models: truths that hold together, and the scorer on answers made by hand."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.strangers.case import Case
from benchmarks.strangers.catalogue import cases
from benchmarks.strangers.make import make, model_source
from benchmarks.strangers.score import Answer, Question, judge, questions_of, read_truths, said_in, summarize
from energydiag.rules.rule import RETIRED, rules

ROOT = Path(__file__).resolve().parent.parent
CASES = cases()
FAULTY = [case for case in CASES.values() if not case.healthy]


def test_there_are_as_many_cases_as_the_readme_lists() -> None:
    text = (ROOT / "benchmarks" / "strangers" / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([\w-]+)` \|", text, flags=re.MULTILINE)
    assert sorted(listed) == sorted(CASES)
    assert f"{len(CASES) - len(FAULTY)}\nhealthy and {len(FAULTY)} faulty" in text


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_input_has_a_truth_and_a_log_has_columns(case: Case) -> None:
    assert case.checkpoint is not None or case.of_log is not None
    assert (case.log is None) == (case.of_log is None)
    assert case.sign == ("score" if -1.0 in (case.arguments.get("turn"), case.used_as.get("sign")) else "energy")


@pytest.mark.parametrize("case", FAULTY, ids=lambda case: case.name)
def test_a_fault_is_called_by_codes_that_exist_and_can_be_seen_somewhere(case: Case) -> None:
    blocks = [block for block in (case.checkpoint, case.of_log) if block is not None]
    known = {*rules(), *RETIRED}
    for block in blocks:
        assert {*block.get("codes", ()), *block.get("partly", ())} <= known
        assert not {*block.get("codes", ())} & {*block.get("partly", ())}
        assert block.get("invisible") or block["words"]
    assert any(not block.get("invisible") for block in blocks)


@pytest.mark.parametrize("name", ["precision-exact", "no-negatives"])
def test_a_case_is_made_whole(name: str, tmp_path: Path) -> None:
    truth = make(CASES[name], tmp_path)
    assert read_truths(tmp_path) == {name: json.loads((tmp_path / name / "truth.json").read_text())}
    assert {path.name for path in (tmp_path / name).iterdir()} == {
        "truth.json",
        *(file.split(":")[0] for file in truth["files"].values()),
    }
    space: dict[str, Any] = {}
    exec((tmp_path / name / "model.py").read_text(), space)
    module = space["build"]()
    module.load_state_dict(torch.load(tmp_path / name / "checkpoint.pt"))
    dump = torch.load(tmp_path / name / "heldout.pt")
    with torch.no_grad():
        found = module(dump["hidden"], dump["actions"])
    assert found.shape == (len(dump["actions"]),)
    assert found.isfinite().all()
    questions = questions_of(name, tmp_path / name, truth)
    assert [question.input for question in questions] == (
        ["checkpoint"] if truth["healthy"] else ["checkpoint", "log", "log with batch size"]
    )


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_models_stand_alone(case: Case) -> None:
    space: dict[str, Any] = {}
    exec(model_source(case), space)
    assert callable(space["build"])


# The scorer


BLOCK = {"codes": ["ED201"], "partly": ["ED203"], "words": ["collapse", "dead+slope"], "open": ["batch size"]}


def result(verdict: str, *codes: str, summary: str = "", missing: str = "") -> dict[str, Any]:
    severity = "critical" if verdict == "critical" else "warning"
    found = [
        {"code": code, "name": "some-rule", "severity": severity, "summary": summary, "cause": ""} for code in codes
    ]
    asked = [{"question": "What is chance?", "missing": missing, "answer": ""}] if missing else []
    return {"verdict": verdict, "findings": found, "open": asked}


def class_of(
    answer: dict[str, Any] | None, block: dict[str, Any] = BLOCK, healthy: bool = False, errors: str = ""
) -> str:
    truth = {"healthy": healthy, "checkpoint": {} if healthy else block}
    return judge(Question("case", "checkpoint", ()), truth, answer, errors).result


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (result("critical", "ED201", "ED101"), "right"),
        (result("critical", "ED101", "ED201"), "wrong"),
        (result("critical", "ED101", summary="All embeddings collapsed."), "right"),
        (result("critical", "ED101", summary="Dead units; the slope is 0."), "right"),
        (result("critical", "ED101", summary="Dead units."), "wrong"),
        (result("warning", "ED203"), "partly"),
        (result("healthy"), "healthy"),
        (result("undetermined", missing="The batch size."), "open"),
        (result("undetermined", missing="Episodes."), "wrong"),
        (None, "refused"),
    ],
)
def test_classes_of_answers_about_a_fault(answer: dict[str, Any] | None, expected: str) -> None:
    assert class_of(answer) == expected


def test_classes_of_other_answers() -> None:
    assert class_of(result("critical", "ED201"), healthy=True) == "critical"
    assert class_of(result("healthy"), healthy=True) == "ok"
    assert class_of(result("undetermined", missing="Episodes."), healthy=True) == "undetermined"
    assert class_of(result("warning", "ED201"), {"invisible": True}) == "right"
    assert class_of(result("critical", "ED201"), {"invisible": True}) == "wrong"
    assert class_of(None, {**BLOCK, "refusal": ["nan"]}, errors="Weights are NaN.") == "right"


def test_words_begin_words() -> None:
    assert said_in(["scale"], "The scale is off.")
    assert not said_in(["scale"], "Rescaled heads.")
    assert said_in(["log 2"], "It ends at log 2.")


def test_a_case_counts_by_all_of_its_answers() -> None:
    def answer(case: str, found: str, visible: bool = True) -> Answer:
        return Answer(case, "log", found, visible, None, None, "")

    truths = {name: {"healthy": name == "well"} for name in ("a", "b", "c", "well")}
    answers = [
        *(answer("a", "right"), answer("a", "healthy")),
        *(answer("b", "right"), answer("b", "wrong"), answer("b", "wrong", visible=False)),
        *(answer("c", "open"), answer("c", "wrong")),
        *(answer("well", "ok"), answer("well", "critical")),
    ]
    found = summarize(truths, answers)
    assert found["faulty_cases"] == {"n": 3, "right": 1, "right_or_open": 2, "any_answer_right": 2, "called_healthy": 1}
    assert found["healthy_cases"]["critical"] == 1
    assert found["answers_that_cannot_show_it"] == {"n": 1, "wrong": 1}
