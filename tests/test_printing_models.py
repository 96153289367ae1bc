"""A user's code prints and warns: stdout holds the result and nothing else."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import torch
from parts import ConcatMLP, make_batch

from energydiag.models.user_code import user_code

LOUD = f"""
import logging, sys, warnings
sys.path.insert(0, {str(Path(__file__).parent)!r})
from parts import ConcatMLP

print("imported")
logging.basicConfig(stream=sys.stdout, level=logging.INFO)

class Loud(ConcatMLP):
    def forward(self, hidden, actions, pad_mask=None):
        print("called")
        logging.info("logged")
        warnings.warn("warned")
        sys.stdout.write("written")
        return super().forward(hidden, actions, pad_mask)

    def load_state_dict(self, *given, **named):
        print("loaded")
        return super().load_state_dict(*given, **named)

def build():
    print("built")
    return Loud()
"""


def test_json_on_stdout_is_json(tmp_path: Path) -> None:
    batch = make_batch(12)
    (tmp_path / "loud.py").write_text(LOUD)
    torch.save(ConcatMLP().state_dict(), tmp_path / "head.pt")
    torch.save({"hidden": batch.hidden, "actions": batch.actions, "pad_mask": batch.pad_mask}, tmp_path / "dump.pt")
    words = ["inspect", "checkpoint", "head.pt", "--batch", "dump.pt", "--model", "loud.py:build", "--format", "json"]
    command = [sys.executable, "-c", "from energydiag.cli import main; main()", *words, "--fail-on", "never"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["kind"] == "diagnosis"
    for word in ("imported", "built", "loaded", "called", "logged", "warned", "written"):
        assert word in ran.stderr


def test_stdout_is_as_it_was_and_what_the_user_put_there_stays() -> None:
    before, own = sys.stdout, io.StringIO()
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        with user_code(), user_code():
            print("aside")
        assert sys.stdout is before
        assert stderr.getvalue() == "aside\n"
        with user_code():
            sys.stdout = own
        assert sys.stdout is own
    sys.stdout = before
