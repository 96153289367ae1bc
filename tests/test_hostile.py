"""Files that mean harm are refused in one line: nothing in them runs, and neither time nor memory runs out."""

from __future__ import annotations

import contextlib
import csv
import json
import re
import subprocess
import sys
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hostile import payloads
from hostile.client import Outcome, Server
from hostile.registry import MARKER, Payload, Use
from hostile.truncated import whole
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from energydiag.batches import load_batch
from energydiag.cli.report import _read as read_result
from energydiag.errors import EnergydiagError
from energydiag.pipeline import load_checkpoint
from energydiag.runs import read_run

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked and measured as Linux does")

MOST_MIB = 1024
MOST_SECONDS = 10
MOST_CHARACTERS = 4000


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with Server() as made:
        yield made


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a good checkpoint and a good dump."""
    folder = tmp_path_factory.mktemp("good")
    (folder / "head.safetensors").write_bytes(whole("safetensors"))
    (folder / "dump.npz").write_bytes(whole("npz"))
    return folder


def command(use: Use, path: Path, good: Path) -> list[object]:
    """The command line that reads a file as this."""
    if use == "checkpoint":
        told = ("--head", "linear", "--nhead", "2", "-q")
        return ["inspect", "checkpoint", path, "--batch", good / "dump.npz", *told]
    if use == "batch":
        return ["inspect", "batch", path, "-q"]
    return ["inspect", "run", path, "-q"] if use == "run" else ["report", path]


def complaints(outcome: Outcome, folder: Path, told: str = "") -> list[str]:
    """What is wrong with how a hostile file was refused."""
    lines = outcome.err.splitlines()
    checks = {
        f"exit code {outcome.code}": outcome.code == 2,
        "a traceback": "Traceback" not in outcome.err,
        "not one message with its next step": len(lines) == 2
        and lines[0].startswith("energydiag: ")
        and lines[1].startswith("  next: "),
        "something on stdout": outcome.out == "",
        f"{len(outcome.err)} characters": len(outcome.err) <= MOST_CHARACTERS,
        "control characters": not controls(outcome.err),
        "advice to load without safety": "weights_only" not in outcome.err,
        "the marker is there": not list(folder.rglob(MARKER)),
        f"{outcome.peak_mib} MiB": outcome.peak_mib < MOST_MIB,
        f"{outcome.cpu_seconds:.1f} s": outcome.cpu_seconds < MOST_SECONDS,
        f"not told: {told}": re.search(told, outcome.err) is not None,
    }
    return [what for what, fine in checks.items() if not fine]


def controls(text: str) -> set[str]:
    """Characters that a terminal obeys."""
    return {c for c in text if unicodedata.category(c).startswith("C") and c != "\n"}


CASES = [(payload, use) for payload in payloads() for use in payload.uses]


@pytest.mark.parametrize(("payload", "use"), CASES, ids=[f"{payload.name}-{use}" for payload, use in CASES])
def test_a_hostile_file_is_refused(payload: Payload, use: Use, server: Server, good: Path, tmp_path: Path) -> None:
    folder = tmp_path / "payload"
    folder.mkdir()
    path = payload.make(folder)
    outcome = server.run(folder, *command(use, path, good))
    assert not complaints(outcome, folder, payload.told), outcome


def test_there_are_enough_of_them() -> None:
    assert len({payload.name for payload in payloads()}) >= 60


ALIVE = [payload for payload in payloads() if payload.alive is not None]


@pytest.mark.parametrize("payload", ALIVE, ids=[payload.name for payload in ALIVE])
def test_a_reader_without_care_would_run_it(payload: Payload, server: Server, tmp_path: Path) -> None:
    """Else its refusal would say nothing."""
    folder = tmp_path / "payload"
    folder.mkdir()
    assert payload.alive is not None
    (folder / "pickle").write_bytes(payload.alive(folder))
    server.run(folder, folder / "pickle", unpickle=True)
    assert list(folder.rglob(MARKER))


REAL = ("pickles:zip-a_global", "pickles:legacy-reduce_protocol_2", "folders:pipe", "archives:npz_of_gigabytes")


@pytest.mark.parametrize("name", REAL)
def test_the_real_command_line_says_the_same(name: str, server: Server, good: Path, tmp_path: Path) -> None:
    payload = next(one for one in payloads() if one.name == name)
    folder = tmp_path / "payload"
    folder.mkdir()
    words = [str(word) for word in command(payload.uses[0], payload.make(folder), good)]
    done = subprocess.run(
        [sys.executable, "-m", "energydiag", *words], capture_output=True, text=True, cwd=ROOT, check=False
    )
    forked = server.run(folder, *words)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", forked.err)
    assert not list(folder.rglob(MARKER))


# --- text that means harm, in files that are benign

EVIL = {
    "escapes": "\x1b[2J\x1b]0;evil\x07\x9b31m",
    "markup": "[bold red]evil[/bold red][link=https://evil.example]x[/link]",
    "html": "</td><script>alert(1)</script><img src=x onerror=alert(1)>",
    "markdown": "|x|\n# evil [a](javascript:alert(1)) ![b](https://evil.example/b.png) @everyone <!-- --> `c`",
    "newlines": "a\r\nCRITICAL: forged\n\u2028b\x85c\x0b",
    "bidi": "\u202eevil\u2066x\u2069\u200f\ufeff",
    "formula": "=cmd|'/c calc'!A0",
    "formula_plus": "+1+1",
    "formula_at": "@SUM(1+1)*cmd()",
    "xml": "]]>\x00\x08\ufffe<!ENTITY x SYSTEM 'file:///etc/passwd'>&x;",
    "templates": "{{7*7}}${7*7}{% import os %}%s%n{0.__class__}",
    "surrogate": "\ud800x",
    "long": "e" * 900,
}
"""Names of keys and columns."""

_RAW = ("<script", "<img", "](javascript", "](https", "@everyone", "[bold", "<!--")


def harm_in(format: str, text: str) -> list[str]:
    """What in an output would be obeyed by whoever shows it."""
    joiner = {"\N{WORD JOINER}"} if format == "md" else set()  # keeps @name from being a mention
    found = sorted(map(ascii, controls(text) - joiner))
    if format == "md":
        text = re.sub(r"(?ms)^(`{3,})text$.*?^\1$", "", text)  # code is shown as it is
        found += [raw for raw in _RAW if raw in text]
        found += [line for line in text.splitlines() if line.startswith(("=", "+", "@", "# evil"))]
    if format == "junit":
        found += [element.tag for element in ElementTree.fromstring(text).iter() if element.tag not in _JUNIT]
    if format in ("json", "sarif"):
        json.loads(text)
    if format == "html":  # written so that a parser of XML reads it too
        for element in ElementTree.fromstring(text).iter():
            found += [element.tag] if element.tag in ("script", "img", "iframe", "form", "object", "embed") else []
            found += [name for name in element.attrib if name.startswith("on") or name in ("src", "style")]
    if format == "github":
        found += [line for line in text.splitlines() if not re.match(r"::(error|warning|notice) (file|title)=", line)]
    return found


_JUNIT = {"testsuites", "testsuite", "testcase", "failure", "skipped", "system-out"}
FORMATS = ("text", "md", "json", "junit", "html", "sarif", "github")


def outputs(folder: Path) -> list[object]:
    return [word for name in FORMATS for word in ("--format", f"{name}={folder / name}")]


def assert_inert(outcome: Outcome, folder: Path) -> None:
    assert outcome.code in (0, 1), outcome
    assert not controls(outcome.err), outcome.err
    for name in FORMATS:
        assert not harm_in(name, (folder / name).read_text(encoding="utf-8")), name


def benign_dump(path: Path, names: Iterable[str]) -> None:
    """A dump with more keys than those that mean something."""
    import torch

    torch.manual_seed(0)
    known = {"hidden": torch.randn(8, 3, 4), "actions": torch.randn(8, 2, 3), "episode": torch.arange(8) // 2}
    torch.save(known | {name: torch.zeros(1) for name in names}, path)


def test_names_in_a_dump_come_out_inert(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "dump.pt"
    benign_dump(path, EVIL.values())
    assert_inert(
        server.run(tmp_path, "inspect", "batch", path, "-q", "--fail-on", "never", *outputs(tmp_path)), tmp_path
    )
    assert "evil" in (tmp_path / "md").read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="names that no file has there")
def test_names_of_files_come_out_inert(server: Server, tmp_path: Path) -> None:
    path = tmp_path / (EVIL["escapes"] + EVIL["bidi"] + "<script>alert(1)<:script>[bold red]|\n# evil" + "@everyone")
    benign_dump(path, ())
    assert_inert(
        server.run(tmp_path, "inspect", "batch", path, "-q", "--fail-on", "never", *outputs(tmp_path)), tmp_path
    )
    lost = server.run(tmp_path, "inspect", "batch", f"{path}-missing", "-q")
    assert not complaints(lost, tmp_path)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_columns_of_a_log_come_out_inert(server: Server, tmp_path: Path, form: str) -> None:
    path = tmp_path / f"metrics.{form}"
    names = ["step", "loss", *(name for kind, name in EVIL.items() if kind not in ("surrogate", "xml"))]
    rows = [[number, 2 / (number + 1), *[number] * (len(names) - 2)] for number in range(60)]
    with path.open("w", encoding="utf-8", newline="") as stream:
        if form == "csv":
            csv.writer(stream).writerows([names, *rows])
        else:
            stream.writelines(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)
    evil = "".join(EVIL[kind] for kind in ("escapes", "html", "bidi", "markdown"))
    (tmp_path / "config.json").write_text(json.dumps({"head": evil, "contrast": evil, "batch_size": 64}))
    assert_inert(server.run(tmp_path, "inspect", "run", path, "-q", "--fail-on", "never", *outputs(tmp_path)), tmp_path)


def test_a_checkpoints_words_of_itself_come_out_inert(server: Server, good: Path, tmp_path: Path) -> None:
    from safetensors.torch import load as load_safetensors
    from safetensors.torch import save_file

    evil = "".join(text for kind, text in EVIL.items() if kind not in ("surrogate", "xml", "long"))
    state = load_safetensors(whole("safetensors"))
    path = tmp_path / "head.safetensors"
    save_file(state, path, {"head": "linear", "nhead": "2", "fixes": evil, "replaced_head": evil})
    words = ("inspect", "checkpoint", path, "--batch", good / "dump.npz", "-q", "--fail-on", "never")
    assert_inert(server.run(tmp_path, *words, *outputs(tmp_path)), tmp_path)


@pytest.mark.parametrize("kind", EVIL)
def test_a_key_in_a_message_comes_out_inert(server: Server, good: Path, tmp_path: Path, kind: str) -> None:
    """The names of tensors that do not fit, the head that nobody knows, a class that is asked for."""
    import torch
    from safetensors.torch import load as load_safetensors

    state = load_safetensors(whole("safetensors"))
    torch.save(state | {EVIL[kind]: torch.zeros(1)}, tmp_path / "keys.pt")
    torch.save({EVIL[kind]: torch.zeros(1)}, tmp_path / "alone.pt")
    for name in ("keys.pt", "alone.pt"):
        outcome = server.run(tmp_path, *command("checkpoint", tmp_path / name, good))
        assert not complaints(outcome, tmp_path), (name, outcome)


def test_a_saved_result_of_a_stranger_comes_out_inert(server: Server, tmp_path: Path) -> None:
    evil = "".join(text for kind, text in EVIL.items() if kind != "long")

    def poisoned(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: poisoned(inner, name) for name, inner in value.items()}
        if isinstance(value, list):
            return [poisoned(inner, key) for inner in value]
        kept = key in ("kind", "subject", "verdict", "severity", "evidence", "auroc.swap")
        return value + evil if isinstance(value, str) and not kept else value

    path = tmp_path / "result.json"
    path.write_text(json.dumps(poisoned(json.loads(whole("result")))))
    assert_inert(server.run(tmp_path, "report", path, "--details", *outputs(tmp_path)), tmp_path)


# --- anything else


def read_batch_or_head(path: Path) -> None:
    """As both; neither may raise anything but what it says."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(EnergydiagError):
            load_batch(path)
        load_checkpoint(path, head="linear", nhead=2)


def read_log(path: Path) -> None:
    read_run(path)


def place_in(content: bytearray, data: st.DataObject) -> int:
    return data.draw(st.integers(0, max(len(content) - 1, 0)))


def flip(content: bytearray, data: st.DataObject) -> None:
    if content:
        content[place_in(content, data)] ^= 1 << data.draw(st.integers(0, 7))


def cut(content: bytearray, data: st.DataObject) -> None:
    del content[place_in(content, data) :]


def splice(content: bytearray, data: st.DataObject) -> None:
    start, place = place_in(content, data), place_in(content, data)
    content[place:place] = content[start : start + data.draw(st.integers(1, 200))]


def lie(content: bytearray, data: st.DataObject) -> None:
    """A length field says something else."""
    size = data.draw(st.sampled_from([2, 4, 8]))
    place = place_in(content, data)
    content[place : place + size] = data.draw(st.integers(0, 2 ** (8 * size) - 1)).to_bytes(size, "little")


READERS = {
    "zip": read_batch_or_head,
    "legacy": read_batch_or_head,
    "safetensors": read_batch_or_head,
    "npz": read_batch_or_head,
    "compressed-npz": read_batch_or_head,
    "result": read_result,
    "log": read_log,
}


@pytest.mark.parametrize("kind", READERS)
@given(data=st.data())
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
def test_mutated_files_are_read_or_refused(
    kind: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(whole(kind))
    for _ in range(data.draw(st.integers(0, 3))):
        mutate = data.draw(st.sampled_from([flip, cut, splice, lie]))
        mutate(content, data)
    path = tmp_path_factory.getbasetemp() / f"mutated-{kind}"
    path.write_bytes(bytes(content))
    with contextlib.suppress(EnergydiagError):
        READERS[kind](path)


@pytest.mark.parametrize("kind", READERS)
@given(
    content=st.binary(max_size=300), start=st.sampled_from([b"", b"PK\3\4", b"\x80\2", b"{", b"\x08\0\0\0\0\0\0\0{"])
)
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
def test_random_bytes_are_read_or_refused(
    kind: str, content: bytes, start: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"random-{kind}"
    path.write_bytes(start + content)
    with contextlib.suppress(EnergydiagError):
        READERS[kind](path)
