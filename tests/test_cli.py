"""The command line as a person uses it: exit codes, streams, files, messages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hostile.truncated import result_text
from parts import make_batch, make_head
from safetensors.torch import save_file

from energydiag.cli import main

ROOT = Path(__file__).resolve().parent.parent
FILES = ("hidden", "actions", "pad_mask", "layer_actions", "episode")


@pytest.fixture
def head_file(tmp_path: Path) -> Path:
    path = tmp_path / "head.safetensors"
    save_file(make_head("original").state_dict(), path, {"head": "original", "nhead": "2", "tau": "0.5"})
    return path


@pytest.fixture
def dump_file(tmp_path: Path) -> Path:
    path = tmp_path / "dump.pt"
    batch = make_batch(24)
    torch.save({name: getattr(batch, name) for name in FILES}, path)
    return path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit code of the program in this process."""
    monkeypatch.setattr(sys, "argv", ["energydiag", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    code = stopped.value.code
    assert isinstance(code, int)
    return code


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['energydiag', '--help']\n"
        "from energydiag.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'pandas', 'matplotlib', 'numpy', 'safetensors'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "inspect" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "unused"),
    [
        (["rules"], {"torch", "pandas", "matplotlib"}),
        (["inspect", "run", "runs/original"], {"torch", "pandas", "matplotlib", "safetensors"}),
        (["compare", "runs", "runs/original", "runs/healthy"], {"torch", "matplotlib", "safetensors"}),
        (["report", "saved.json"], {"torch", "pandas", "matplotlib"}),
        (["inspect", "checkpoint", "healthy.safetensors", "--batch", "heldout-batch.safetensors", "--limit", "16"],
         {"pandas", "matplotlib", "scipy"}),
    ],
)  # fmt: skip
def test_a_command_loads_what_it_uses(arguments: list[str], unused: set[str], tmp_path: Path) -> None:
    (tmp_path / "saved.json").write_text(result_text())
    arguments = [str(tmp_path / word) if word == "saved.json" else word for word in arguments]
    code = (
        f"import sys; sys.argv = ['energydiag', *{arguments!r}]\n"
        "from energydiag.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('loaded:', *sys.modules)"
    )
    folder = ROOT / "sample_checkpoints"
    path = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env=os.environ | path, check=True
    )
    loaded = set(done.stdout.rpartition("loaded:")[2].split())
    assert "energydiag.cli" in loaded
    assert not unused & loaded


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, energydiag; assert 'torch' not in sys.modules; assert callable(energydiag.inspect)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_user_mistake_in_a_real_process_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "energydiag", "inspect", "checkpoint", "no.pt", "--batch", "no.safetensors"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "energydiag: No checkpoint at no.pt.",
        "  next: check the path (`ls` the folder it should be in).",
    ]


def test_result_on_stdout_and_in_files_and_drawn_again_from_json(
    head_file: Path,
    dump_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    saved, plots = tmp_path / "result.json", tmp_path / "plots"
    code = run(
        monkeypatch,
        *("inspect", "checkpoint", head_file, "--batch", dump_file, "--fail-on", "never"),
        *("--format", "text", "--format", f"json={saved}", "--plots", plots),
    )
    shown = capsys.readouterr()
    assert code == 0
    assert "overview.png" in shown.err
    report = shown.out.partition("\nNext ")[0]  # commands are not wrapped
    assert max(map(len, report.splitlines())) <= 80
    result = json.loads(saved.read_text())
    assert result["kind"] == "diagnosis"
    assert result["provenance"]["command"][:3] == ["energydiag", "inspect", "checkpoint"]
    assert len(result["checkpoint"]["sha256"]) == len(result["batch"]["sha256"]) == 64
    assert {p.stem for p in plots.glob("*.png")} == {p.stem for p in plots.glob("*.svg")}
    assert run_report(monkeypatch, saved, capsys) == report + "\n"


def run_report(monkeypatch: pytest.MonkeyPatch, saved: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert run(monkeypatch, "report", saved) == 0
    return capsys.readouterr().out


def test_fail_on_decides_the_exit_code(head_file: Path, dump_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrained head does not separate anything: that is critical."""
    job = ("inspect", "checkpoint", head_file, "--batch", dump_file, "-q")
    assert run(monkeypatch, *job) == 1
    assert run(monkeypatch, *job, "--fail-on", "never") == 0
    assert run(monkeypatch, *job, "--ignore", "ED1", "--ignore", "ED2", "--ignore", "ED3") == 0
    assert run(monkeypatch, *job, "--select", "ED6", "--fail-on", "warning") == 0


def test_defaults_come_from_a_config_file(
    head_file: Path, dump_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "settings.toml"
    config.write_text('fail-on = "never"\nquiet = true\n')
    job = ("inspect", "checkpoint", head_file, "--batch", dump_file)
    assert run(monkeypatch, "--config", config, *job) == 0
    assert run(monkeypatch, "--config", config, *job, "--fail-on", "critical") == 1
    (tmp_path / "pyproject.toml").write_text('[tool.energydiag]\nfail-on = "never"\n')
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *job, "-q") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format", "pdf"), "No format is called 'pdf'"),
        (("--format", "text", "--format", "json"), "same place"),
        (("--model-arg", "hidden"), "KEY=VALUE"),
        (("--device", "tpu9"), "--device tpu9"),
        (("--dtype", "int8"), "--dtype"),
        (("--model", "nowhere.py:make"), "--model nowhere.py:make failed"),
        (("--nhead", "3"), "not a multiple"),
        (("--output", "/proc/result.txt"), "cannot be written"),
    ],
)
def test_wrong_usage_is_told(
    arguments: tuple[str, ...],
    message: str,
    head_file: Path,
    dump_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, "inspect", "checkpoint", head_file, "--batch", dump_file, *arguments) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert "  next: " in shown.err
    assert "Traceback" not in shown.err


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"schema_version": 99}', '{"schema_version": 1}'])
def test_a_report_of_something_else_is_told(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "result.json"
    path.write_text(content)
    assert run(monkeypatch, "report", path) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_names_from_a_stranger_come_out_inert(
    dump_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "head.safetensors"
    weights = make_head("original").state_dict() | {"\x1b[2J[bold red]evil\nkey": torch.zeros(1)}
    save_file(weights, path, {"head": "original", "nhead": "2"})
    assert run(monkeypatch, "inspect", "checkpoint", path, "--batch", dump_file) == 2
    error = capsys.readouterr().err
    assert "\x1b" not in error
    assert len(error.splitlines()) == 2


def test_rules_are_listed_and_explained(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "rules") == 0
    listed = capsys.readouterr().out
    assert "ED102  dead-head" in listed
    assert run(monkeypatch, "rules", "ed102") == 0
    by_code = capsys.readouterr().out
    assert run(monkeypatch, "rules", "dead-head") == 0
    assert capsys.readouterr().out == by_code
    assert "16.64" in by_code
    assert run(monkeypatch, "rules", "ED999") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("--select", "FOO"), "FOO"), (("--ignore", "ED9"), "ED9")],
)
def test_what_is_not_there_is_told(
    arguments: tuple[str, ...],
    message: str,
    head_file: Path,
    dump_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, "inspect", "checkpoint", head_file, "--batch", dump_file, *arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("content", ["fial-on = 'never'", "tool = 3", "[tool]\nenergydiag = 3"])
def test_mistakes_in_a_config_file_are_told(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "settings.toml"
    config.write_text(content)
    assert run(monkeypatch, "--config", config, "rules") == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_full_disk_behind_stdout_is_told() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    with full.open("w") as stream:
        command = [sys.executable, "-m", "energydiag", "rules", "ED101"]
        done = subprocess.run(command, stdout=stream, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_option_that_overrides_the_metadata_is_said(
    head_file: Path, dump_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "inspect", "checkpoint", head_file, "--batch", dump_file, "--head", "linear")
    assert "--head linear was taken" in " ".join(capsys.readouterr().out.split())
