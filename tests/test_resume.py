"""A run that is killed at random moments ends with the same weights as one that was left alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from parts import make_batch, make_head

from energydiag.atomic import write_text
from energydiag.errors import UnreadableFile, UsageError
from energydiag.models.energy_function import EnergyFunction
from energydiag.plan import Descent, TrainingPlan
from energydiag.training.loop import TrainingOutcome, train
from energydiag.training.state import STATE_FILE, digest

PLAN = TrainingPlan(
    steps=60, batch_size=6, log_every=3, validate_every=10, learning_rate=1e-2, tau=1.0, schedule="cosine",
    sources=("noise",), descent=Descent(steps=1), alignment=0.5, temperature="learnable", seed=5,
)  # fmt: skip
KILLS = 12


def run(folder: Path | None, plan: TrainingPlan = PLAN, *, resume: bool = False, data: int = 0) -> tuple[str, str]:
    """The weights' hash, and the log without its clock with what else came out."""
    module = make_head("linear")
    outcome: TrainingOutcome = train(
        EnergyFunction(module, "test"), make_batch(20, seed=data), plan, validation=make_batch(8, seed=9),
        folder=folder, resume=resume, save_every=2,
    )  # fmt: skip
    told = replace(outcome, rows=tuple(replace(row, seconds=0.0) for row in outcome.rows))
    return digest(module.state_dict()), repr(told)


PARENT = """
import csv, json, os, random, signal, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
import torch._dynamo  # what the first step would import, in every child anew
torch.set_num_threads(1)
import test_resume
from energydiag.training.log import COLUMNS
folder, chance, steps = Path({folder!r}), random.Random(0), []
state, result = folder / "state.pt", folder.parent / "result.json"

def start():
    child = os.fork()  # this process never trains, so that its children can
    if child == 0:
        result.write_text(json.dumps(test_resume.run(folder, resume=True)))
        os._exit(0)
    return child

def written():
    return state.stat().st_mtime_ns if state.exists() else 0

def kill(child):
    before, patience = written(), time.monotonic() + 20
    while chance.random() < 0.999 and written() == before and time.monotonic() < patience:
        time.sleep(0.002)  # mostly until it has got on, sometimes before
    time.sleep(chance.uniform(0, 0.15))
    os.kill(child, signal.SIGKILL)

while True:
    child = start()
    if len(steps) < {kills}:
        kill(child)
    _, status = os.waitpid(child, 0)
    if (folder / "metrics.csv").exists():
        columns, *rows = csv.reader((folder / "metrics.csv").open())
        assert tuple(columns) == COLUMNS and all(len(row) == len(COLUMNS) for row in rows)
    step = torch.load(state, weights_only=True)["step"] if state.exists() else 0
    if not os.WIFSIGNALED(status):
        break
    steps.append(step)
assert os.waitstatus_to_exitcode(status) == 0
print(json.dumps([steps, json.loads(result.read_text())]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
def test_a_run_killed_at_random_moments_ends_as_if_it_had_been_left_alone(tmp_path: Path) -> None:
    script = PARENT.format(tests=str(Path(__file__).parent), folder=str(tmp_path / "run"), kills=KILLS)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    steps, result = json.loads(done.stdout)
    assert len({step for step in steps if 0 < step < PLAN.steps}) >= 5, steps
    assert tuple(result) == run(None)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {STATE_FILE, "metrics.csv"}


def test_resuming_a_finished_run_gives_its_result_without_training(tmp_path: Path) -> None:
    short = replace(PLAN, steps=6)
    first = run(tmp_path, short)
    with pytest.raises(UsageError, match="holds a training run"):
        run(tmp_path, short)
    assert run(tmp_path, short, resume=True) == first


def test_the_state_of_another_run_is_refused_by_what_differs(tmp_path: Path) -> None:
    short = replace(PLAN, steps=2)
    run(tmp_path, short)
    with pytest.raises(UsageError, match=r"the plan's tau is 1\.0 there and 0\.5 here\.") as refused:
        run(tmp_path, replace(short, tau=0.5), resume=True)
    assert "samples" not in str(refused.value)
    with pytest.raises(UsageError, match="the training samples differ"):
        run(tmp_path, short, resume=True, data=1)
    write_text(tmp_path / STATE_FILE, "nonsense")
    with pytest.raises(UnreadableFile, match="cannot be read as the state"):
        run(tmp_path, short, resume=True)


def test_a_run_that_stopped_as_non_finite_stays_so(tmp_path: Path) -> None:
    wild = replace(PLAN, learning_rate=1e30, schedule="constant", clip_norm=None)
    first = run(tmp_path, wild)
    assert "stopped='non-finite'" in first[1]
    assert run(tmp_path, wild, resume=True) == first
