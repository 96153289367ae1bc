"""The action for GitHub and the script for any CI system: their steps are run, with the variables that GitHub sets."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from jsonschema import Draft7Validator
from safetensors.torch import load_file, save_file
from schemas import ACTION, schema

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "sample_checkpoints"
SCRIPT = ROOT / "ci" / "energydiag.sh"
PAGE = ROOT / "docs" / "continuous-integration.md"
FORMATS = {"markdown": "md", "html": "html", "junit": "xml", "sarif": "sarif", "json": "json"}

STUB = """\
#!/bin/sh
printf '%s\\n' "$@" >"$STUB_LOG"
echo '::error title=from a file name::not to be obeyed'
for argument in "$@"; do
  case "$argument" in
    github=*) echo '::warning title=mine::told' >"${argument#*=}" ;;
    *=*/result.*) echo "# result" >"${argument#*=}" ;;
  esac
done
exit "$STUB_CODE"
"""
GH = """\
#!/bin/sh
printf '%s\\n' "$@" --end-- >>"$STUB_LOG"
case " $* " in *" --edit-last "*) exit "$GH_CODE" ;; esac
"""


@cache
def action() -> dict[str, Any]:
    """The action, after a look at the schema of such files."""
    made: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    assert [error.message for error in Draft7Validator(schema(ACTION)).iter_errors(made)] == []
    return made


def step(name: str) -> dict[str, Any]:
    (found,) = (one for one in action()["runs"]["steps"] if one["name"] == name)
    return dict(found)


def filled(text: str, context: dict[str, str]) -> str:
    """The text as GitHub fills it in before anything runs."""
    return re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda found: context[found[1]], text)


def run_step(name: str, folder: Path, context: dict[str, str], **variables: str) -> subprocess.CompletedProcess[str]:
    """A step as the runner starts it: bash with -e and pipefail, the step's variables filled in."""
    defaults = {f"inputs.{key}": str(one.get("default", "")) for key, one in action()["inputs"].items()}
    context = {**defaults, "github.action_path": str(ROOT), **context}
    given = {key: filled(value, context) for key, value in step(name).get("env", {}).items()}
    kept = {key: value for key, value in os.environ.items() if key in ("HOME", "LANG", "TMPDIR")}
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**kept, "PATH": path, "OMP_NUM_THREADS": "1", "GITHUB_ACTIONS": "true", **given, **variables}
    script = folder / "step.sh"
    script.write_text(filled(step(name)["run"], context), encoding="utf-8")
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def program(folder: Path, name: str, content: str) -> None:
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / name).write_text(content)
    (folder / "bin" / name).chmod(0o755)


def inspect(folder: Path, inputs: dict[str, str], **variables: str) -> subprocess.CompletedProcess[str]:
    files_ = {"GITHUB_STEP_SUMMARY": str(folder / "summary.md"), "GITHUB_OUTPUT": str(folder / "output")}
    context = {f"inputs.{name}": value for name, value in inputs.items()}
    return run_step("Inspect", folder, context, **files_, STUB_LOG=str(folder / "log"), **variables)


def outputs(folder: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (folder / "output").read_text().splitlines())


@pytest.fixture
def real(tmp_path: Path) -> Path:
    installed = shlex.quote(str(Path(sys.executable).with_name("energydiag")))
    program(tmp_path, "energydiag", f'#!/bin/sh\nexec {installed} "$@"\n')
    tensors = load_file(SAMPLES / "heldout-batch.safetensors")
    save_file({key: value[::16].contiguous() for key, value in tensors.items()}, tmp_path / "batch.safetensors")
    return tmp_path


@pytest.mark.slow
def test_a_sick_head_fails_the_step_and_leaves_everything(real: Path) -> None:
    shutil.copy(SAMPLES / "inverted.pt", real / "head.pt")
    args = "--head\nlinear\n--nhead\n8\n--tau\n1\n"
    done = inspect(real, {"checkpoint": "head.pt", "batch": "batch.safetensors", "args": args})
    assert done.returncode == 1, done.stderr
    made = outputs(real)
    assert made == {"exit-code": "1", **{key: f"energydiag-results/result.{end}" for key, end in FORMATS.items()}}
    assert "ED202" in (real / "summary.md").read_text()
    assert (real / made["html"]).read_text().startswith("<!DOCTYPE html>")
    assert ElementTree.parse(real / made["junit"]).getroot().get("failures") != "0"
    results = json.loads((real / made["sarif"]).read_text())["runs"][0]["results"]
    place = results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert (results[0]["ruleId"], results[0]["level"], place) == ("ED202", "error", "head.pt")
    obeyed = done.stdout.rpartition("\n::")[0]  # the runner listens again after the token
    assert "::error file=head.pt,title=ED202 inverted-energies::" in done.stdout
    assert obeyed


@pytest.mark.slow
def test_several_heads_give_a_table(real: Path) -> None:
    (real / "heads").mkdir()
    for step_ in (1, 2):
        shutil.copy(SAMPLES / "healthy.safetensors", real / "heads" / f"step_{step_}.safetensors")
    inputs = {"checkpoint": "heads/step_*.safetensors", "batch": "batch.safetensors", "args": "--workers\n0"}
    done = inspect(real, {**inputs, "fail-on": "critical"})
    assert done.returncode == 0, done.stderr
    table = (real / "summary.md").read_text()
    assert "| `step_1.safetensors` | 1 |" in table
    assert "| `step_2.safetensors` | 2 |" in table


@pytest.mark.parametrize("code", [0, 1, 2, 3, 130])
def test_the_exit_code_is_kept(code: int, tmp_path: Path) -> None:
    program(tmp_path, "energydiag", STUB)
    done = inspect(tmp_path, {"checkpoint": "a", "batch": "b"}, STUB_CODE=str(code))
    assert done.returncode == code
    assert outputs(tmp_path)["exit-code"] == str(code)


def test_arguments_arrive_whole_and_nothing_is_expanded(tmp_path: Path) -> None:
    program(tmp_path, "energydiag", STUB)
    odd = "a b; $(touch hacked) `touch hacked` '\"*.pt"
    inputs = {
        "checkpoint": odd,
        "batch": odd,
        "args": f"--model\n{odd}\n\n--tau\n1",
        "out": "an out",
        "fail-on": "never",
    }
    done = inspect(tmp_path, inputs, STUB_CODE="0")
    assert done.returncode == 0, done.stderr
    given = (tmp_path / "log").read_text().splitlines()
    assert given[:7] == ["--no-config", "inspect", "checkpoint", odd, "--batch", odd, "--fail-on"]
    assert given[-4:] == ["--model", odd, "--tau", "1"]
    assert "html=an out/result.html" in given
    assert not (tmp_path / "hacked").exists()


def test_no_text_of_a_file_is_obeyed_by_the_runner(tmp_path: Path) -> None:
    """Between the two lines with the token, which nobody can guess, the runner obeys nothing."""
    program(tmp_path, "energydiag", STUB)
    told = [inspect(tmp_path, {"checkpoint": "a", "batch": "b"}, STUB_CODE="0").stdout.splitlines() for _ in range(2)]
    tokens = set()
    for lines in told:
        found = re.fullmatch(r"::stop-commands::([0-9a-f]{32})", lines[0])
        assert found
        tokens.add(found[1])
        again = lines.index(f"::{found[1]}::")
        assert lines.index("::error title=from a file name::not to be obeyed") < again
        assert lines[again + 1 :] == ["::warning title=mine::told"]
    assert len(tokens) == 2


def test_results_of_an_earlier_run_are_not_mixed_in(tmp_path: Path) -> None:
    program(tmp_path, "energydiag", "#!/bin/sh\nexit 2\n")
    (tmp_path / "energydiag-results").mkdir()
    (tmp_path / "energydiag-results" / "result.md").write_text("old")
    assert inspect(tmp_path, {"checkpoint": "a", "batch": "b"}).returncode == 2
    assert outputs(tmp_path) == {"exit-code": "2"}
    assert not (tmp_path / "summary.md").exists()


def test_the_script_works_elsewhere_and_says_what_is_missing(tmp_path: Path) -> None:
    program(tmp_path, "energydiag", STUB)
    environment = {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}", "STUB_LOG": str(tmp_path / "log")}

    def run(**variables: str) -> subprocess.CompletedProcess[str]:
        given = {**environment, **variables}
        return subprocess.run(["sh", str(SCRIPT)], env=given, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert run().stderr == "energydiag.sh: CHECKPOINT is not set.\n  next: export CHECKPOINT=PATH\n"
    assert run(CHECKPOINT="a").returncode == 2
    done = run(CHECKPOINT="a", BATCH="b", STUB_CODE="1")
    assert (done.returncode, "stop-commands" in done.stdout) == (1, False)
    assert run(CHECKPOINT="a", BATCH="b", OUT="x\ny").returncode == 2


@pytest.mark.parametrize(("code", "calls"), [("0", 1), ("1", 2)])
def test_the_comment_is_written_once(code: str, calls: int, tmp_path: Path) -> None:
    """The last one is written anew; where there is none yet, a first one."""
    program(tmp_path, "gh", GH)
    context = {
        "github.repository": "owner/name",
        "github.event.pull_request.number": "7",
        "steps.inspect.outputs.markdown": "energydiag-results/result.md",
    }
    done = run_step("Comment on the pull request", tmp_path, context, STUB_LOG=str(tmp_path / "log"), GH_CODE=code)
    assert done.returncode == 0, done.stderr
    told = (tmp_path / "log").read_text().split("--end--\n")[:-1]
    assert len(told) == calls
    assert told[-1].splitlines()[-1] == "energydiag-results/result.md"
    assert "inputs.comment == 'true'" in step("Comment on the pull request")["if"]


def test_no_expression_stands_in_a_script() -> None:
    """GitHub pastes expressions into scripts as they are, so that a branch's name could be a command."""
    for one in action()["runs"]["steps"]:
        assert "${{" not in one["run"]


def test_the_page_knows_the_inputs_and_the_variables() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in (*action()["inputs"], *action()["outputs"]):
        assert f"`{name}`" in page, name
    for name in re.findall(r"^#   ([A-Z_]+) ", SCRIPT.read_text(), re.MULTILINE):
        assert f"`{name}`" in page, name
    for example in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL):
        assert yaml.safe_load(example)
