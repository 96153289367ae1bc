"""The monitor: training goes on to the bit as without it, the log holds what a slow oracle finds, alarms work."""

from __future__ import annotations

import json
import logging
import math
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from parts import ConcatMLP, make_batch, make_head, single
from safetensors.torch import save_file
from torch import Tensor, nn

import energydiag
from energydiag.batch import Batch
from energydiag.errors import EnergydiagError
from energydiag.losses import info_nce_per_row
from energydiag.monitor import Monitor
from energydiag.monitor import monitor as monitor_module
from energydiag.monitor.pace import Pace
from energydiag.objectives import infonce_floor
from energydiag.runs import read_run

TAU = 0.5
REPOSITORY = Path(__file__).resolve().parent.parent
SAMPLES = REPOSITORY / "sample_checkpoints"
HELD_OUT = make_batch(10, seed=5)


def loss_of(model: nn.Module, batch: Batch) -> Tensor:
    return info_nce_per_row(
        energydiag.pairwise_energies(model, batch.hidden, batch.actions, batch.pad_mask), TAU
    ).mean()


def watched(model: nn.Module, folder: Path, every: int = 2, **more: Any) -> Monitor:
    return Monitor(model, HELD_OUT, folder, every, **{"most_overhead": 0, **more})


def train(model: nn.Module, steps: int, monitor: Monitor | None = None, start: int = 0) -> list[float]:
    """A user's loop, with everything random that a loop may have."""
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    losses = []
    for step in range(start, start + steps):
        batch = make_batch(8, seed=random.randrange(100) + int(np.random.randint(100)))
        optimizer.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        if monitor is not None:
            monitor.step(loss=loss, lr=1e-2, step=step)
            if monitor.should_stop:
                break
    return losses


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def events(folder: Path) -> list[str]:
    path = folder / "events.jsonl"
    return [json.loads(line)["event"] for line in path.read_text().splitlines()] if path.exists() else []


class Restless(ConcatMLP):
    """Draws random numbers and counts its calls, in eval mode as well."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        self.calls += 1
        return super().forward(hidden + 0.1 * torch.randn(()) + random.random() + np.random.rand(), actions, pad_mask)


@pytest.mark.parametrize("kind", ["reference", "restless"])
def test_training_is_the_same_to_the_bit(kind: str, tmp_path: Path) -> None:
    states = []
    for is_watched in (False, True):
        random.seed(1)
        np.random.seed(1)
        model = make_head("original") if kind == "reference" else Restless()
        model.train()
        next(model.children()).eval()  # a part that the user keeps frozen
        modes = [part.training for part in model.modules()]
        torch.manual_seed(1)
        monitor = watched(model, tmp_path, 3) if is_watched else None
        train(model, 8, monitor)
        assert [part.training for part in model.modules()] == modes
        assert all(p.requires_grad for p in model.parameters())
        found = [*model.state_dict().values(), *(p.grad for p in model.parameters()), torch.get_rng_state()]
        states.append(([value.clone() for value in found], random.getstate(), np.random.get_state()[1].tolist()))
    assert all(torch.equal(a, b) for a, b in zip(states[0][0], states[1][0], strict=True))
    assert states[0][1:] == states[1][1:]


def oracle(model: nn.Module, batch: Batch) -> dict[str, float]:
    """Everything pair by pair, sample by sample."""
    model.eval()
    n = len(batch)
    table = [[single(model, batch, i, actions=batch.actions[j]) for j in range(n)] for i in range(n)]
    others = [[table[i][j] for j in range(n) if j != i] for i in range(n)]
    positive = sum(table[i][i] for i in range(n)) / n
    negative = sum(map(sum, others)) / (n * (n - 1))
    wins = [sum(e > table[i][i] for e in others[i]) / (n - 1) for i in range(n)]
    slopes = [4 * (e - 1e-6) * (1 - (e - 1e-6)) for row in table for e in row]
    cosines = []
    for i in range(n):
        action = batch.policy_actions[i][None].double().requires_grad_(True)  # type: ignore[index]
        energy = model(batch.hidden[i][None].double(), action, batch.pad_mask[i][None])  # type: ignore[index]
        slope = torch.autograd.grad(energy.sum(), action)[0]
        way = (batch.actions[i] - action[0].detach()).flatten()
        cosines.append(float(nn.functional.cosine_similarity(-slope.flatten(), way, 0)))
    model.train()
    return {
        "energy_positive": positive,
        "energy_negative": negative,
        "gap": negative - positive,
        "auroc": sum(wins) / n,
        "top1": sum(table[i][i] < min(others[i]) for i in range(n)) / n,
        "saturation": sum(slope < 0.1 for slope in slopes) / n**2,
        "alignment": sum(cosines) / n,
        "weight_norm": math.sqrt(sum(float(p.detach().double().square().sum()) for p in model.parameters())),
        "gradient_norm": math.sqrt(sum(float(p.grad.double().square().sum()) for p in model.parameters())),  # type: ignore[union-attr]
    }


def test_the_log_holds_what_a_slow_oracle_finds(tmp_path: Path) -> None:
    model = make_head("original").double().train()  # no ties by rounding
    with torch.no_grad():
        model.prediction_head.fc2.weight *= 20  # some raw values beyond the head's slope, some not
    optimizer = torch.optim.SGD(model.parameters(), 1e-2)
    expected: dict[int, dict[str, float]] = {}
    losses = []
    with watched(model, tmp_path / "run", 2, tau=TAU, batch_size=8) as monitor:
        for step in range(5):
            before = [p.detach().clone() for p in model.parameters()]
            optimizer.zero_grad()
            loss = loss_of(model, make_batch(8, seed=step))
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
            monitor.step(loss=loss, lr=torch.tensor(1e-2), info_nce=loss, what="ever")
            loss *= 0  # what a loop may do afterwards
            if step % 2 == 0:
                expected[step] = oracle(model, HELD_OUT)
            if step:
                moved = sum(
                    float((p.detach() - b).square().sum()) for p, b in zip(model.parameters(), before, strict=True)
                )
                expected.get(step, {})["update_ratio"] = math.sqrt(moved) / expected.get(step, {}).get("weight_norm", 1)
    log = read_run(tmp_path / "run")
    assert log.series["loss"].value.tolist() == pytest.approx(losses)
    assert log.series["learning_rate"].value.tolist() == pytest.approx([1e-2] * 5)
    for step, numbers in expected.items():
        row = rows(tmp_path / "run")[step]
        assert row["step"] == step
        assert {name: row[name] for name in numbers} == pytest.approx(numbers, rel=1e-3, abs=1e-5), step
        assert row["nonfinite_energies"] == row["nonfinite_tensors"] == 0
    assert 0 < expected[4]["saturation"] < 1
    assert any("`what` is not logged" in event for event in events(tmp_path / "run"))
    diagnosis = energydiag.inspect_run(tmp_path / "run")
    floor = diagnosis.measurement("run.objective.floor")
    assert floor is not None
    assert floor.value == pytest.approx(infonce_floor(7, 1.0 / TAU))
    gap = diagnosis.measurement("run.gap.last")
    assert gap is not None
    assert gap.value == pytest.approx(expected[4]["gap"], rel=1e-4)


def test_a_saturated_head_raises_an_alarm_and_stops_the_loop(tmp_path: Path) -> None:
    energy = energydiag.load_checkpoint(SAMPLES / "original.pt", head="original", nhead=8)
    batch = energydiag.load_batch(SAMPLES / "train-batch.safetensors")
    optimizer = torch.optim.AdamW(energy.module.parameters(), 1e-5)
    alarms: list[Any] = []
    monitor = Monitor(
        energy, SAMPLES / "heldout-batch.safetensors", tmp_path, 1, tau=0.5, batch_size=64, stop_on="ED702",
        on_alert=alarms.append, most_overhead=0,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    steps = 0
    energy.module.train()
    while not monitor.should_stop and steps < 30:
        loss = loss_of(energy.module, batch.take(torch.randperm(len(batch), generator=generator)[:64]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        monitor.step(loss=loss)
        steps += 1
    assert [finding.code for finding in alarms] == ["ED702"]
    assert 8 <= steps < 30
    assert any("ED702" in event and "is to stop" in event for event in events(tmp_path))
    assert read_run(tmp_path).config["head"] == "original"


def test_a_training_that_goes_well_raises_no_alarm(tmp_path: Path) -> None:
    batch = energydiag.load_batch(SAMPLES / "train-batch.safetensors")
    energy = energydiag.load_checkpoint(SAMPLES / "healthy.safetensors")
    optimizer = torch.optim.AdamW(energy.module.parameters(), 1e-4)
    monitor = Monitor(energy, SAMPLES / "heldout-batch.safetensors", tmp_path, 1, tau=0.5, batch_size=32)
    generator = torch.Generator().manual_seed(0)
    for _ in range(14):
        loss = loss_of(energy.module, batch.take(torch.randperm(len(batch), generator=generator)[:32]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        monitor.step(loss=loss)
    assert not monitor.findings


def test_a_crash_leaves_a_log_that_can_be_read_and_gone_on_with(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        try:
            model = make_head()
            train(model, 9, watched(model, tmp_path, 4))
        finally:
            os._exit(9)  # neither closed nor flushed
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert [row["step"] for row in rows(tmp_path)] == list(range(9))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "loss": 1.2')  # as if the machine had died
    assert read_run(tmp_path).series["loss"].step.tolist() == list(range(9))
    with pytest.raises(EnergydiagError, match="holds a training log already"):
        watched(make_head(), tmp_path)
    seconds = [row["seconds"] for row in rows_with_looks(tmp_path) if row["step"] < 7][-1]
    model = make_head()
    with watched(model, tmp_path, 4, resume=True) as monitor:
        losses = train(model, 6, monitor, start=7)  # from the checkpoint of step 7
    assert [row["step"] for row in rows(tmp_path)] == list(range(13))
    assert [row["loss"] for row in rows(tmp_path)[7:]] == pytest.approx(losses, rel=1e-6)
    assert rows_with_looks(tmp_path)[-1]["seconds"] >= seconds
    assert not read_run(tmp_path).notes or "left out" not in " ".join(read_run(tmp_path).notes)


def rows_with_looks(folder: Path) -> list[dict[str, float]]:
    found = []
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        found += [row] if "seconds" in row else []
    return found


def test_a_long_log_is_thinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor_module, "MOST_ROWS", 40)
    with watched(make_head(), tmp_path, 10) as monitor:
        for step in range(100):
            monitor.step(loss=step)
    found = rows(tmp_path)
    assert len(found) <= 51
    assert [row["step"] for row in found if "seconds" in row] == list(range(0, 100, 10))
    assert all(row["loss"] == row["step"] for row in found)
    assert [row["step"] for row in found] == sorted(row["step"] for row in found)


class Stubborn(ConcatMLP):
    """Gives no gradients in eval mode."""

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        if torch.is_grad_enabled() and not self.training:
            raise TypeError("no gradients here")
        return super().forward(hidden, actions, pad_mask)


def test_what_fails_is_told_once_and_the_rest_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = Stubborn().train()
    with caplog.at_level(logging.WARNING, "energydiag"):
        train(model, 5, watched(model, tmp_path))
    told = [record.getMessage() for record in caplog.records if "alignment" in record.getMessage()]
    assert len(told) == 1
    assert "no gradients here" in told[0]
    assert {"auroc", "saturation", "gradient_norm"} <= rows(tmp_path)[4].keys()
    assert "alignment" not in rows(tmp_path)[4]


def test_compiled_and_wrapped_modules_are_unwrapped(tmp_path: Path) -> None:
    plain = make_head("original")
    wrapped = nn.DataParallel(torch.compile(plain, backend="eager"))
    for name, model in (("plain", plain), ("wrapped", wrapped)):
        with watched(model, tmp_path / name) as monitor:
            monitor.step(loss=1.0)
    seen = [{n: v for n, v in rows(tmp_path / name)[0].items() if n != "seconds"} for name in ("plain", "wrapped")]
    assert seen[0] == seen[1]
    inside = nn.Sequential(make_head("original"))
    inside[0].prediction_head = torch.compile(inside[0].prediction_head, backend="eager")
    inside[0](HELD_OUT.hidden, HELD_OUT.actions, HELD_OUT.pad_mask)
    with watched(inside[0], tmp_path / "inside") as monitor:
        monitor.step(loss=1.0)
    assert rows(tmp_path / "inside")[0]["gap"] == pytest.approx(seen[0]["gap"])


def test_the_interval_is_stretched_where_looking_costs_too_much() -> None:
    pace = Pace(100, 0.03)
    assert pace.looked(0, 5.0, None) == 100
    assert pace.due == 100
    assert pace.looked(100, 0.3, 0.1) == 100  # .3 s of 10.3 s
    assert pace.looked(200, 0.3, 0.01) == 1000  # .3 / (.3 + 1000 · .01) is below .03, and 900 steps are not
    assert pace.due == 1200
    assert pace.looked(1200, 0.3, 0.1) == 100
    assert Pace(100, 0.0).looked(0, 9.0, 1e-3) == 100


def test_usage_errors(tmp_path: Path) -> None:
    head = make_head()
    for match, given in {
        "neither a severity nor a code": {"stop_on": "ED1"},
        "cannot be": {"every": 0},
        "batch of 0": {"batch_size": 0},
        "No objective is called": {"objective": "square"},
        "temperature": {"tau": -1.0},
        "No head is called": {"head": "square"},
    }.items():
        with pytest.raises(EnergydiagError, match=match):
            Monitor(head, HELD_OUT, tmp_path, **given)  # type: ignore[arg-type]
    with pytest.raises(EnergydiagError, match="two at least are needed"):
        Monitor(head, make_batch(1), tmp_path)
    with pytest.raises(EnergydiagError, match="means nothing in a dump"):
        Monitor(head, {"hidden": HELD_OUT.hidden, "actions": HELD_OUT.actions, "reward": HELD_OUT.actions}, tmp_path)
    (tmp_path / "metrics.csv").write_text("step,loss\n")
    with pytest.raises(EnergydiagError, match=r"metrics\.csv"):
        Monitor(head, HELD_OUT, tmp_path, resume=True)


# trackers


class WandbRun:
    """As much of a W&B run as numbers are sent to."""

    def __init__(self) -> None:
        self.logged: list[dict[str, float]] = []

    def define_metric(self, name: str, **_: Any) -> None:
        assert name.startswith("energydiag/")

    def log(self, values: dict[str, float], commit: bool) -> None:
        assert not commit  # else the user's own counter of steps would go on
        self.logged.append(values)


def test_trackers_in_use_get_the_numbers_and_a_failing_one_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wandb, run = ModuleType("wandb"), WandbRun()
    wandb.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    mlflow = ModuleType("mlflow")  # without what a real one has
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    with caplog.at_level(logging.WARNING, "energydiag"), watched(make_head(), tmp_path) as monitor:
        for _ in range(5):
            monitor.step(loss=torch.tensor(1.5))
    assert [values["energydiag/step"] for values in run.logged] == [0, 2, 4]
    assert run.logged[2]["energydiag/loss"] == 1.5
    assert run.logged[2]["energydiag/auroc"] == pytest.approx(rows(tmp_path)[4]["auroc"])
    assert sum("mlflow gets no more numbers" in record.getMessage() for record in caplog.records) == 1


def test_a_summary_writer_gets_the_numbers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path / "board") as writer, watched(make_head(), tmp_path / "run", writer=writer) as monitor:
        for _ in range(3):
            monitor.step(loss=1.5)
    board = EventAccumulator(str(tmp_path / "board"))
    board.Reload()
    found = {event.step: event.value for event in board.Scalars("energydiag/gap")}
    assert found == pytest.approx({step: rows(tmp_path / "run")[step]["gap"] for step in (0, 2)})


def test_a_run_of_mlflow_gets_the_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "tracked").as_uri())
    with mlflow.start_run() as run, watched(make_head(), tmp_path / "run") as monitor:
        for _ in range(3):
            monitor.step(loss=1.5)
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "energydiag/gap")
    assert [metric.step for metric in history] == [0, 2]


# frameworks


class Endless(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Samples by name, as a Trainer wants them."""

    def __init__(self, samples: int = 64) -> None:
        self.batch = make_batch(samples, seed=7)

    def __len__(self) -> int:
        return len(self.batch)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"hidden": self.batch.hidden[index], "actions": self.batch.actions[index]}


class Policy(nn.Module):
    """An energy head inside of something larger, whose loss is NaN from a call on."""

    def __init__(self, broken_from: int = 10**9) -> None:
        super().__init__()
        self.head = make_head("original")
        self.calls = 0
        self.broken_from = broken_from

    def forward(self, hidden: Tensor, actions: Tensor) -> dict[str, Tensor]:
        self.calls += 1
        loss = info_nce_per_row(energydiag.pairwise_energies(self.head, hidden, actions), TAU).mean()
        return {"loss": loss * (math.nan if self.calls >= self.broken_from else 1.0)}


@pytest.fixture
def quiet(tmp_path: Path) -> dict[str, Any]:
    return {
        **{"accelerator": "cpu", "devices": 1, "enable_checkpointing": False, "enable_progress_bar": False},
        **{"enable_model_summary": False, "logger": False, "default_root_dir": tmp_path, "max_epochs": -1},
    }


@pytest.fixture
def silent() -> dict[str, Any]:
    return {"use_cpu": True, "report_to": [], "disable_tqdm": True, "save_strategy": "no"}


def lightning_module(policy: Policy) -> Any:
    lightning = pytest.importorskip("lightning.pytorch")

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.policy, self.head = policy, policy.head
            self.losses: list[float] = []
            self.norms: list[float] = []

        def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
            loss = self.policy(**batch)["loss"]
            self.losses.append(float(loss.detach()))
            return loss

        def on_before_optimizer_step(self, _: Any) -> None:
            self.norms.append(float(torch.nn.utils.get_total_norm([p.grad for p in self.head.parameters()])))

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), 1e-3)

    return Module()


def test_lightning_is_watched_and_stopped(tmp_path: Path, quiet: dict[str, Any]) -> None:
    lightning = pytest.importorskip("lightning.pytorch")
    module = lightning_module(Policy(broken_from=16))
    monitor = watched(module.head, tmp_path / "run", 3, stop_on="ED703")
    trainer = lightning.Trainer(
        max_steps=40, callbacks=[monitor.lightning()], gradient_clip_val=1e-3, accumulate_grad_batches=2, **quiet
    )
    trainer.fit(module, torch.utils.data.DataLoader(Endless(), batch_size=8))
    assert trainer.global_step == 10  # the sixteenth batch is of the eighth step, 7; the next look is at 9
    found = rows(tmp_path / "run")
    assert [row["step"] for row in found] == list(range(10))
    assert [row["loss"] for row in found[:7]] == pytest.approx(
        np.reshape(module.losses[:14], (7, 2)).mean(axis=1), rel=1e-6
    )
    assert {row["learning_rate"] for row in found} == {1e-3}
    for step in (0, 3, 6):  # not the clipped one
        assert found[step]["gradient_norm"] == pytest.approx(module.norms[step], rel=1e-5)
    assert read_run(tmp_path / "run").config["clip_norm"] == "0.001"


def test_the_trainer_of_transformers_is_watched_and_stopped(tmp_path: Path, silent: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers")
    model = Policy(broken_from=8)
    monitor = watched(model.head, tmp_path / "run", 3, stop_on="ED703")
    arguments = transformers.TrainingArguments(
        str(tmp_path), max_steps=30, logging_steps=1, logging_nan_inf_filter=False, per_device_train_batch_size=8,
        learning_rate=1e-3, **silent,
    )  # fmt: skip
    trainer = transformers.Trainer(model, arguments, train_dataset=Endless(), callbacks=[monitor.hf()])
    trainer.train()
    assert trainer.state.global_step == 9
    log = read_run(tmp_path / "run")
    told = {entry["step"]: entry for entry in trainer.state.log_history if "loss" in entry}
    assert log.series["loss"].step.tolist() == list(told)
    assert log.series["loss"].value.tolist() == pytest.approx([e["loss"] for e in told.values()], nan_ok=True)
    norms = [float(e["grad_norm"]) for e in told.values()]
    assert log.series["gradient_norm"].value.tolist() == pytest.approx(norms, rel=1e-6, nan_ok=True)
    assert log.series["auroc"].step.tolist() == [1, 3, 6, 9]


DISTRIBUTED = """
import sys; sys.path.insert(0, {tests!r})
import hashlib, torch, torch.distributed as distributed
torch.set_num_threads(1)
from pathlib import Path
from parts import make_batch, make_head
from energydiag import Monitor

folder, rank = Path({folder!r}), int(sys.argv[1])
distributed.init_process_group("gloo", init_method=f"file://{{folder}}/store", rank=rank, world_size=2)

def train(job):
    head = make_head("original").train()
    if job == "sharded":
        from torch.distributed.fsdp import fully_shard
        model = fully_shard(head, mesh=distributed.init_device_mesh("cpu", (2,)))
    else:
        model = torch.nn.parallel.DistributedDataParallel(head)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    monitor = None
    if job != "alone":
        monitor = Monitor(model, make_batch(8, seed=3), folder / job, 3, stop_on="ED703", most_overhead=0)
    torch.manual_seed(rank)
    for step in range(8):
        batch = make_batch(4, seed=10 * step + rank)
        optimizer.zero_grad()
        loss = model(batch.hidden, batch.actions, batch.pad_mask).square().mean()
        loss.backward()
        optimizer.step()
        if monitor is not None:
            # told by one process alone, so that only it can know
            monitor.step(loss=float("nan") if step == 4 and rank == 0 and job == "stopped" else loss)
            if monitor.should_stop:
                break
    if monitor is not None:
        monitor.close()
    weights = b"" if job == "sharded" else b"".join(p.detach().numpy().tobytes() for p in head.parameters())
    print(job, step, hashlib.sha256(weights).hexdigest())

for job in ("alone", "watched", "stopped", "sharded"):
    train(job)
distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_of_two_processes_one_writes_and_both_stop(tmp_path: Path) -> None:
    script = DISTRIBUTED.format(tests=str(Path(__file__).resolve().parent), folder=str(tmp_path))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(rank)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    answers = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    first, second = [[line.split() for line in answer[0].splitlines()] for answer in answers]
    assert first == second
    (_, last, alone), (_, _, together), (_, stopped, _), (_, sharded, _) = first
    assert alone == together  # the same weights to the bit
    assert (last, stopped, sharded) == ("7", "6", "7")  # the look after step 4 is at step 6
    for job in ("watched", "sharded"):
        assert [row["step"] for row in rows(tmp_path / job)] == list(range(8))
    assert rows(tmp_path / "watched")[6].keys() >= {"auroc", "alignment", "gradient_norm"}
    assert all(row.keys() <= {"step", "loss", "seconds"} for row in rows(tmp_path / "sharded"))
    assert any("DTensor" in event for event in events(tmp_path / "sharded"))


# the page


def loader() -> Iterator[tuple[Tensor, Tensor]]:
    for seed in range(12):
        batch = make_batch(8, seed=seed)
        yield batch.hidden, batch.actions


def test_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet: dict[str, Any], silent: dict[str, Any]
) -> None:
    for framework in ("lightning", "transformers", "accelerate"):
        pytest.importorskip(framework)
    monkeypatch.chdir(tmp_path)
    save_file({"hidden": HELD_OUT.hidden, "actions": HELD_OUT.actions}, "heldout.safetensors")
    head = make_head("original").train()
    told: list[str] = []
    batches = torch.utils.data.DataLoader(Endless(96), batch_size=8)
    names: dict[str, Any] = {
        "torch": torch,
        "head": head,
        "info_nce": lambda head, hidden, actions: loss_of(head, Batch(hidden, actions)),
        "optimizer": torch.optim.AdamW(head.parameters(), 1e-3),
        "held_out_hidden": HELD_OUT.hidden,
        "held_out_actions": HELD_OUT.actions,
        "module": lightning_module(Policy()),
        "model": Policy(),
        "samples": Endless(),
        "quiet": quiet,
        "silent": silent,
        "print": lambda *words: told.append(" ".join(map(str, words))),
    }
    page = (REPOSITORY / "docs" / "monitor.md").read_text(encoding="utf-8")
    for snippet in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        pairs = [tuple(batch.values()) for batch in batches]
        names["loader"] = batches if "Trainer" in snippet else pairs
        if "Accelerator" in snippet:
            names["loader"] = torch.utils.data.DataLoader(pairs, batch_size=None)  # type: ignore[arg-type]
        exec(snippet, names)
    assert told
    for run in ("a", "lightning", "hf", "accelerate"):
        assert "auroc" in read_run(tmp_path / "runs" / run).series
