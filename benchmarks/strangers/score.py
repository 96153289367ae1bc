"""Asks the real commands about every case below a folder, and counts what they answer.

An **input** of a case is its checkpoint (with model and dump) or its log; the log is asked about twice where the batch
size is known. Each answer gets one class:

* of a faulty case: ``right`` (the first finding is accepted by its code or its words; a refusal that the truth
  accepts), ``open`` (no right finding, but ``undetermined``, and one of the words that the truth allows is in an open
  question), ``partly`` (the first finding sees a symptom of it), ``wrong``, ``healthy`` (called healthy), ``refused``;
* of an input that cannot show the fault (``invisible``): ``right`` where nothing is critical or all is undetermined,
  else ``wrong``;
* of a healthy case: ``ok``, ``warning``, ``critical``, ``undetermined``, ``refused``.

A faulty case is **right** where an answer about an input that can show the fault is right and none of these answers
calls it healthy; **right or open** likewise with ``open`` beside ``right``; **called healthy** where any of them calls
it healthy. A healthy case counts by its worst answer.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

Json = Mapping[str, Any]

OBJECTIVES = {
    "infonce": "infonce",
    "bce": "bce",
    "siglip": "siglip",
    "margin": "margin",
    "triplet": "margin",
    "bradley-terry": "bt",
    "contrastive-divergence": "cd",
    "dsm": "dsm",
    "regression": "regression",
    "distance-regression": "regression",
    "unrolled": "unrolled",
}
"""What the commands call the objectives of ``truth.json``; those that they have no name for are not told."""

FAULTY_CLASSES = ("right", "open", "partly", "wrong", "healthy", "refused")
HEALTHY_CLASSES = ("ok", "warning", "undetermined", "critical", "refused")
WORST_FIRST = ("critical", "refused", "undetermined", "warning", "ok")
TIME_LIMIT = 300


@dataclass(frozen=True)
class Question:
    """One command about one input.

    Attributes:
        case: Name of the folder, below the one that is scored.
        input: ``checkpoint``, ``log`` or ``log with batch size``.
        command: What follows ``energydiag``.
    """

    case: str
    input: str
    command: tuple[str, ...]

    @property
    def subject(self) -> str:
        """Which block of the truth is about it."""
        return "checkpoint" if self.input == "checkpoint" else "log"


@dataclass(frozen=True)
class Answer:
    """What a command said, and what that is worth.

    Attributes:
        case: As in ``Question``.
        input: As in ``Question``.
        result: Its class.
        visible: Whether this input can show the fault; True for healthy cases.
        verdict: Of the command.
        first: Code of the first finding.
        says: Summary of the first finding, the first open question, or the message of a refusal.
    """

    case: str
    input: str
    result: str
    visible: bool
    verdict: str | None
    first: str | None
    says: str


def score(out: Path, file: Path | None, jobs: int, *, objective: bool = False, negatives: bool = False) -> None:
    """Scores every case below ``out``: a table, a summary, and all of it as JSON where a file is named."""
    truths = read_truths(out)
    if not truths:
        raise SystemExit(f"no truth.json below {out}: `make` writes some")
    questions = [
        question
        for case, truth in truths.items()
        for question in questions_of(case, out / case, truth, objective=objective, negatives=negatives)
    ]
    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        replies = list(pool.map(ask, questions))
    answers = [judge(one, truths[one.case], *reply) for one, reply in zip(questions, replies, strict=True)]
    summary = summarize(truths, answers)
    show(truths, answers, summary)
    if file is not None:
        told = {"summary": summary, "answers": [asdict(answer) for answer in answers]}
        file.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_truths(out: Path) -> dict[str, Json]:
    """The truths of ``out/CASE`` and ``out/CASE/VARIANT``, by these names."""
    paths = sorted((*out.glob("*/truth.json"), *out.glob("*/*/truth.json")))
    return {str(path.parent.relative_to(out)): json.loads(path.read_text(encoding="utf-8")) for path in paths}


def questions_of(
    case: str, folder: Path, truth: Json, *, objective: bool = False, negatives: bool = False
) -> list[Question]:
    """The commands that the inputs of a case are asked about with."""
    files, found = truth["files"], []
    told = ["--format", "json"]
    if objective and truth["objective"] in OBJECTIVES:
        told += ["--objective", OBJECTIVES[truth["objective"]]]
    if "checkpoint" in files and "checkpoint" in truth:
        command = [
            "inspect",
            "checkpoint",
            str(folder / files["checkpoint"]),
            "--batch",
            str(folder / files["heldout"]),
        ]
        command += ["--model", f"{folder / files['model']}", "--sign", truth["sign"]]
        if truth.get("temperature"):
            command += ["--tau", str(truth["temperature"])]
        found.append(Question(case, "checkpoint", (*command, *told)))
    if "log" in files and "log" in truth:
        command = ["inspect", "run", str(folder / files["log"])]
        found.append(Question(case, "log", (*command, *told)))
        if truth.get("batch_size"):
            command += ["--batch-size", str(truth["batch_size"])]
            if negatives and truth.get("negatives"):
                command += ["--negatives", str(truth["negatives"])]
            found.append(Question(case, "log with batch size", (*command, *told)))
    return found


def ask(question: Question) -> tuple[Json | None, str]:
    """The result as JSON, or None and what stood on stderr."""
    command = [sys.executable, "-m", "energydiag", *question.command]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIME_LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return None, f"no answer in {TIME_LIMIT} s"
    try:
        return json.loads(done.stdout), done.stderr
    except json.JSONDecodeError:
        return None, done.stderr


# --- judging


def judge(question: Question, truth: Json, result: Json | None, errors: str) -> Answer:
    """The class of an answer."""
    block = truth.get(question.subject) or {}
    visible = truth["healthy"] or not block.get("invisible")
    named = (question.case, question.input)
    if result is None:
        refusal_is_right = not truth["healthy"] and said_in(block.get("refusal", ()), errors)
        return Answer(*named, "right" if refusal_is_right else "refused", visible, None, None, _shortened(errors))
    first = result["findings"][0] if result["findings"] else None
    if truth["healthy"]:
        found = {"healthy": "ok"}.get(result["verdict"], result["verdict"])
    elif not visible:
        found = "right" if _nothing_critical(result) else "wrong"
    else:
        found = class_of_fault(block, result)
    says = first["summary"] if first else "; ".join(f"{each['question']} {each['missing']}" for each in result["open"])
    return Answer(*named, found, visible, result["verdict"], first and first["code"], _shortened(says))


def class_of_fault(block: Json, result: Json) -> str:
    """The class of an answer about a fault that can be seen."""
    first = result["findings"][0] if result["findings"] else None
    if first and is_right(block, first):
        return "right"
    if result["verdict"] == "undetermined":
        return "open" if said_in(block.get("open", ()), _open_text(result)) else "wrong"
    if result["verdict"] == "healthy" or first is None:
        return "healthy"
    return "partly" if first["code"] in block.get("partly", ()) else "wrong"


def is_right(block: Json, finding: Json) -> bool:
    """Whether a finding is accepted, by its code or by words in its name, summary or cause."""
    text = " ".join((finding["name"], finding["summary"], finding["cause"]))
    return finding["code"] in block.get("codes", ()) or said_in(block.get("words", ()), text)


def said_in(words: Iterable[str], text: str) -> bool:
    """Whether one of the words begins a word of the text; ``a+b`` asks for both."""
    text = text.lower()

    def begins(part: str) -> bool:
        return re.search(rf"(?<!\w){re.escape(part.strip().lower())}", text) is not None

    return any(all(begins(part) for part in word.split("+")) for word in words)


def _open_text(result: Json) -> str:
    return " ".join(f"{each['question']} {each['missing']} {each['answer']}" for each in result.get("open", ()))


def _nothing_critical(result: Json) -> bool:
    critical = any(finding["severity"] == "critical" for finding in result["findings"])
    return result["verdict"] == "undetermined" or not critical


def _shortened(text: str, length: int = 160) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"


# --- counting


def summarize(truths: Mapping[str, Json], answers: Sequence[Answer]) -> dict[str, Any]:
    """Counts of cases and of answers."""
    faulty = [case for case, truth in truths.items() if not truth["healthy"]]
    healthy = [case for case, truth in truths.items() if truth["healthy"]]
    shown = {case: [a.result for a in answers if a.case == case and a.visible] for case in truths}
    judged = [case for case in faulty if shown[case]]
    worst = Counter(next((one for one in WORST_FIRST if one in shown[case]), "ok") for case in healthy)
    hidden = [answer for answer in answers if not answer.visible]
    of_faulty = [a for a in answers if a.visible and not truths[a.case]["healthy"]]
    return {
        "faulty_cases": {
            "n": len(judged),
            "right": sum(is_solved(shown[case], ("right",)) for case in judged),
            "right_or_open": sum(is_solved(shown[case], ("right", "open")) for case in judged),
            "any_answer_right": sum("right" in shown[case] for case in judged),
            "called_healthy": sum("healthy" in shown[case] for case in judged),
        },
        "healthy_cases": {"n": len(healthy), **{name: worst[name] for name in HEALTHY_CLASSES}},
        "faulty_answers": _by_input(of_faulty, FAULTY_CLASSES),
        "healthy_answers": _by_input([a for a in answers if truths[a.case]["healthy"]], HEALTHY_CLASSES),
        "answers_that_cannot_show_it": {"n": len(hidden), **Counter(answer.result for answer in hidden)},
    }


def is_solved(results: Sequence[str], accepted: Sequence[str]) -> bool:
    """Whether one of a faulty case's answers is accepted and none calls it healthy."""
    return any(result in accepted for result in results) and "healthy" not in results


def _by_input(answers: Sequence[Answer], classes: Sequence[str]) -> dict[str, dict[str, int]]:
    found = {}
    for name in ("checkpoint", "log", "log with batch size"):
        counts = Counter(answer.result for answer in answers if answer.input == name)
        found[name] = {"n": counts.total(), **{one: counts[one] for one in classes}}
    return found


# --- showing


STYLES = {
    "right": "green",
    "ok": "green",
    "open": "cyan",
    "undetermined": "cyan",
    "partly": "yellow",
    "warning": "yellow",
}


def show(truths: Mapping[str, Json], answers: Sequence[Answer], summary: Mapping[str, Any]) -> None:
    """Prints a row for each answer, and the summary."""
    console = Console(width=None if sys.stdout.isatty() else 170)
    for healthy in (False, True):
        table = Table("case", "input", "answer", "verdict", "first", "says", title="healthy" if healthy else "faulty")
        for answer in answers:
            if truths[answer.case]["healthy"] is not healthy:
                continue
            style = STYLES.get(answer.result, "red")
            mark = "" if answer.visible else " (cannot show it)"
            cells = (answer.case, answer.input, f"[{style}]{answer.result}[/]{mark}", answer.verdict or "–")
            table.add_row(*cells, answer.first or "–", answer.says.replace("[", r"\["))
        if table.row_count:
            console.print(table)
    for line in lines_of(summary):
        console.print(line, highlight=False)


def lines_of(summary: Mapping[str, Any]) -> list[str]:
    """The summary in sentences."""
    faulty, healthy = summary["faulty_cases"], summary["healthy_cases"]
    hidden = summary["answers_that_cannot_show_it"]
    lines = [
        f"Faulty cases: {faulty['n']}. Right: {faulty['right']}; "
        f"right or rightly undetermined: {faulty['right_or_open']}; "
        f"called healthy by some answer: {faulty['called_healthy']}.",
        f"Healthy cases: {healthy['n']}, by their worst answer. "
        + "; ".join(f"{name}: {healthy[name]}" for name in HEALTHY_CLASSES)
        + ".",
    ]
    for kind in ("faulty", "healthy"):
        for name, counts in summary[f"{kind}_answers"].items():
            if counts["n"]:
                told = ", ".join(f"{one} {count}" for one, count in counts.items() if one != "n" and count)
                lines.append(f"Answers about the {name} of {kind} cases: {counts['n']}: {told}.")
    if hidden["n"]:
        lines.append(
            f"Answers about inputs that cannot show the fault: {hidden['n']}, right: {hidden.get('right', 0)}."
        )
    return lines
