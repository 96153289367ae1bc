"""Where results go, and what they go through: streams, files that are no plain ones, runners, devices."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import pytest
import torch
from parts import make_batch, make_head

from energydiag.atomic import write_text
from energydiag.errors import UsageError
from energydiag.inert import without_commands
from energydiag.pipeline import load_checkpoint

PROGRAM = Path(sys.executable).with_name("energydiag")


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dump") / "dump.pt"
    torch.save(make_batch(24).present(), path)
    return path


def called(*words: object, here: Path, **more: Any) -> Any:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **more.pop("env", {})}
    return subprocess.run(
        [str(PROGRAM), *map(str, words)], cwd=here, env=environment, check=False, **{"capture_output": True, **more}
    )


@pytest.mark.parametrize("kind", ["pipe", "link", "folder", "device"])
def test_only_a_plain_file_is_replaced(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "folder":
        path.mkdir()
    else:
        path = Path(os.devnull)
    before = path.lstat()
    with pytest.raises(UsageError, match="name a plain file"):
        write_text(path, "{}")
    assert path.lstat() == before
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    path.write_text("old")
    path.chmod(0o600)
    write_text(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_terminals_of_any_encoding(encoding: str, dump: Path, tmp_path: Path) -> None:
    done = called("inspect", "batch", dump, "-q", here=tmp_path, env={"PYTHONIOENCODING": encoding})
    assert done.returncode in (0, 1)
    assert b"samples" in done.stdout
    assert b"Traceback" not in done.stderr


def test_closed_streams_do_not_keep_a_result_from_its_file(dump: Path, tmp_path: Path) -> None:
    words = ("inspect", "batch", dump, "--format", f"json={tmp_path}/result.json", "--format", "text")
    script = " ".join((str(PROGRAM), *map(str, words), ">&-", "2>&-"))
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, check=False)
    assert done.returncode in (0, 1)
    assert (tmp_path / "result.json").exists()


def test_a_folder_that_was_removed(dump: Path, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    script = f"cd {tmp_path}/gone && rmdir {tmp_path}/gone && {PROGRAM} inspect batch {dump}"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "energydiag: The current folder was removed."


@pytest.mark.parametrize("device", ["meta", "xla", "hpu", "mars", "cuda:99"])
def test_devices_that_hold_no_numbers_are_refused(device: str, tmp_path: Path) -> None:
    torch.save(make_head("original").state_dict(), tmp_path / "head.pt")
    with pytest.raises(UsageError, match=f"--device {device} cannot be used"):
        load_checkpoint(tmp_path / "head.pt", head="original", nhead=2, device=device)


def test_a_runner_gets_no_commands_from_names() -> None:
    hostile = "a\n::error::pwned\n  ::set-output name=x::y\nfine :: here ##[add-path]/tmp"
    shown = without_commands(hostile)
    assert not any(line.lstrip().startswith("::") for line in shown.splitlines())
    assert "##[" not in shown
    assert "fine :: here" in shown


@pytest.mark.slow
def test_a_checkpoint_with_a_commands_name_on_a_runner(dump: Path, tmp_path: Path) -> None:
    path = tmp_path / "x\n::error::pwned.pt"
    torch.save(make_head("original").state_dict(), path)
    words = ("inspect", "checkpoint", path, "--batch", dump, "--head", "original", "--nhead", "2", "-q", "--plots", "p")
    done = called(*words, here=tmp_path, env={"GITHUB_ACTIONS": "true"}, text=True)
    assert not any(line.lstrip().startswith("::") for line in (done.stdout + done.stderr).splitlines())
    for drawn in (tmp_path / "p").glob("*.svg"):
        xml.etree.ElementTree.parse(drawn)


def test_control_characters_and_dollars_in_names_are_drawn_as_xml(dump: Path, tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31m\x07$\\frac{1}$.pt"
    torch.save(make_head("original").state_dict(), path)
    words = ("inspect", "checkpoint", path, "--batch", dump, "--head", "original", "--nhead", "2", "-q", "--plots", "p")
    done = called(*words, here=tmp_path, text=True)
    drawn = list((tmp_path / "p").glob("*.svg"))
    assert drawn, done.stderr
    words = "\n".join(text for each in drawn for text in xml.etree.ElementTree.parse(each).getroot().itertext())
    assert "mathdefault" not in words  # powers of ten along a logarithmic axis stay formulas
    assert "$\\frac{1}$" in words
    assert "\x1b" not in done.stdout + done.stderr
