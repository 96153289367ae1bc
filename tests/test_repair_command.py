"""The repair as a command, with real processes: killed, out of space, pointed at the wrong folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from parts import make_batch, make_head
from safetensors.torch import save_file

TESTS = Path(__file__).parent
KILLS = 20


@pytest.fixture
def patient(tmp_path: Path) -> list[str]:
    """The command line for a tiny sick head, without ``--out``."""
    head, dump = tmp_path / "head.safetensors", tmp_path / "dump.pt"
    save_file(make_head("original").state_dict(), head, {"head": "original", "nhead": "2", "tau": "0.5"})
    batch = make_batch(48)
    names = ("hidden", "actions", "pad_mask", "layer_actions", "episode")
    torch.save({name: getattr(batch, name) for name in names}, dump)
    fixes = ["--fix", "linear-head", "--fix", "mixed-negatives"]
    return ["fix-and-retrain", str(head), "--batch", str(dump), "--steps", "16", "--batch-size", "8", *fixes]


PARENT = """
import json, os, random, signal, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
import torch._dynamo, matplotlib.figure, matplotlib.backends.backend_agg  # what every child would import anew
torch.set_num_threads(1)
from safetensors import safe_open
import energydiag.pipeline.repair_files, energydiag.training.state, energydiag.training.loop
import energydiag.figures, energydiag.reports
from energydiag.cli import main
command, out, undisturbed, chance = {command!r}, Path({out!r}), Path({undisturbed!r}), random.Random(0)
defaults = sys.modules["energydiag.training.loop"].train.__kwdefaults__
defaults["save_every"] = 2  # a tiny run would be over before its first state

def start(*arguments):
    child = os.fork()  # this process never trains, so that its children can
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.argv = ["energydiag", *command, *arguments]
        try:
            main()
        except SystemExit as stop:
            os._exit(stop.code)
        os._exit(99)
    return child

def code(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def check_every_file():
    for path in out.rglob("*"):
        if path.is_dir() or ".unfinished-" in path.name or path.name == ".lock-repair":
            continue
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".pt":
            torch.load(path, weights_only=True)
        elif path.suffix == ".safetensors":
            safe_open(path, "pt").keys()
        elif path.suffix == ".png":
            assert path.read_bytes()[-8:-4] == b"IEND"
        elif path.suffix == ".svg":
            assert path.read_text().rstrip().endswith("</svg>")
        else:
            assert path.name == "metrics.csv" and path.read_text().endswith("\\n"), path

began = time.monotonic()
first = code(start("--out", str(undisturbed)))
whole, kills = time.monotonic() - began, 0
while True:
    child = start("--out", str(out), "--resume")
    if kills < {kills}:
        # mostly soon after it has gone on from where the last one was killed, sometimes anywhere
        time.sleep(whole * chance.choice([chance.random() * 0.3, chance.random()]))
        done, _ = os.waitpid(child, os.WNOHANG)
        if not done:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            kills += 1
        check_every_file()
        continue
    last = code(child)
    check_every_file()
    break
print(json.dumps([kills, first, last]))
"""


def told(out: Path) -> tuple[str, dict[str, object]]:
    """Hash of the repaired checkpoint, and the result without its clock and its command line."""
    result = json.loads((out / "result.json").read_text())
    for part in (result, *result["arms"].values()):
        part.pop("created")
    result["provenance"].pop("command")
    result.pop("checkpoint")
    return hashlib.sha256((out / "repaired.safetensors").read_bytes()).hexdigest(), result


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
def test_a_repair_killed_twenty_times_ends_as_if_it_had_been_left_alone(tmp_path: Path, patient: list[str]) -> None:
    out, undisturbed = tmp_path / "out", tmp_path / "undisturbed"
    script = PARENT.format(tests=str(TESTS), command=patient, out=str(out), undisturbed=str(undisturbed), kills=KILLS)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    kills, first, last = json.loads(done.stdout)
    assert (kills, first) == (KILLS, last)
    assert told(out) == told(undisturbed)
    assert not [path for path in out.rglob(".*") if path.is_file()]


def run(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    start = f"import sys; sys.argv = ['energydiag', *{list(arguments)!r}]"
    code = f"{start}\n{before}\nfrom energydiag.cli import main\nmain()"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path, patient: list[str]) -> None:
    out = tmp_path / "out"
    # a file that may not grow stands for a disk that is full
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))"
    done = run(*patient, "--out", str(out), before=full)
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert not [path for path in out.rglob("*") if path.is_file()]
    assert run(*patient, "--out", str(out), "--resume").returncode in (0, 1)
    assert (out / "result.json").exists()


@pytest.mark.slow
def test_findings_of_the_log_join_those_of_the_checkpoint(tmp_path: Path, patient: list[str]) -> None:
    log = tmp_path / "log.csv"
    rows = [f"{step},{3 + (step % 2)},{2 + step / 50}" for step in range(0, 400)]
    log.write_text("\n".join(["step,loss,energy_positive", *rows]) + "\n")
    # the plan is made from findings, so nothing is forced
    words = [w for w in patient if w not in ("--fix", "linear-head", "mixed-negatives")]
    plain, joined = (
        run(*words, "--out", str(tmp_path / "out"), "--dry-run", *more) for more in ([], ["--run", str(log)])
    )
    assert plain.returncode == joined.returncode == 0, joined.stderr
    codes = [set(re.findall(r"ED7\d\d", told.stdout)) for told in (plain, joined)]
    assert not codes[0]
    assert codes[1]
    missing = run(*words, "--out", str(tmp_path / "out"), "--run", str(tmp_path / "nowhere.csv"))
    assert missing.returncode == 2
    assert "Traceback" not in missing.stderr


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_a_folder_that_cannot_be_taken_is_left_alone(tmp_path: Path, patient: list[str], resume: list[str]) -> None:
    precious = tmp_path / "mine" / "thesis.tex"
    precious.parent.mkdir()
    precious.write_text("precious")
    for out in (precious.parent, precious / "below-a-file"):
        done = run(*patient, "--out", str(out), *resume)
        assert done.returncode == 2
        assert done.stderr.startswith("energydiag: --out ")
        assert "Traceback" not in done.stderr
    assert precious.read_text() == "precious"
    assert [path.name for path in precious.parent.iterdir()] == ["thesis.tex"]
