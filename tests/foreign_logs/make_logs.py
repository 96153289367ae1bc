"""Makes the logs of this folder with the tools that people use, by really training a small energy; see README.md."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from getpass import getuser
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

HERE = Path(__file__).resolve().parent
STEPS, BATCH, SIZE, TAU = 60, 16, 6, 0.5
Points = dict[str, list[list[Any]]]
"""By name: step, value and, where the tool keeps it, seconds since 1970. What JSON has no number for is text."""

EXPECTED: dict[str, Any] = {}


class Samples(Dataset[dict[str, Tensor]]):
    """Actions that are a turned context, with noise."""

    def __init__(self, count: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.hidden = torch.randn(count, SIZE, generator=generator)
        turn = torch.linalg.qr(torch.randn(SIZE, SIZE, generator=generator))[0]
        self.actions = self.hidden @ turn + 0.1 * torch.randn(count, SIZE, generator=generator)

    def __len__(self) -> int:
        return len(self.hidden)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"hidden": self.hidden[index], "actions": self.actions[index]}


class Energy(nn.Module):
    """A bilinear energy, trained by InfoNCE over the batch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(0.1 * torch.randn(SIZE, SIZE))

    def forward(self, hidden: Tensor, actions: Tensor) -> dict[str, Tensor]:
        energy = -hidden @ self.weight @ actions.T
        rows = len(hidden)
        others = energy[~torch.eye(rows, dtype=torch.bool)]
        loss = nn.functional.cross_entropy(-energy / TAU, torch.arange(rows))
        return {"loss": loss, "e_pos": energy.diagonal().mean().detach(), "e_neg": others.mean().detach()}


def training(steps: int = STEPS, first: int = 0) -> Iterator[tuple[int, dict[str, float]]]:
    """A plain loop; at one step the loss is NaN, at one the gradient's norm is infinite."""
    model, samples = Energy(), Samples(STEPS * BATCH)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.03)
    for step, batch in enumerate(DataLoader(samples, BATCH)):
        if step == steps:
            return
        answer = model(**batch)
        optimiser.zero_grad()
        answer["loss"].backward()
        norm = float(nn.utils.clip_grad_norm_(model.parameters(), 1.0))
        optimiser.step()
        if step >= first:
            yield (
                step,
                {
                    "train/loss": math.nan if step == 20 else float(answer["loss"].detach()),
                    "train/positive_energy": float(answer["e_pos"]),
                    "train/negative_energy": float(answer["e_neg"]),
                    "grad_norm": math.inf if step == 21 else norm,
                },
            )


def plain(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def remember(name: str, points: Points, **more: Any) -> None:
    """What the tool's own way of reading says of its log."""
    EXPECTED[name] = {"points": {k: [[s, plain(v), *t] for s, v, *t in points[k]] for k in sorted(points)}, **more}


def lightning(folder: Path) -> None:
    """A LightningModule with validation, logged to CSV and to event files at once."""
    from lightning import LightningModule, Trainer
    from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.save_hyperparameters({"tau": TAU, "batch_size": BATCH})
            self.model = Energy()

        def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
            answer = self.model(**batch)
            self.log("train_loss", answer["loss"], on_step=True, on_epoch=True)
            self.log("train/e_pos", answer["e_pos"])
            self.log("train/e_neg", answer["e_neg"])
            loss: Tensor = answer["loss"]
            return loss

        def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
            self.log("val_loss", self.model(**batch)["loss"])

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=0.03)

    loggers = [CSVLogger(folder, name="csv", version=""), TensorBoardLogger(folder, name="events", version="")]
    trainer = Trainer(
        max_epochs=3,
        logger=loggers,
        log_every_n_steps=2,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    trainer.fit(Module(), DataLoader(Samples(20 * BATCH), BATCH), DataLoader(Samples(4 * BATCH), BATCH))
    with (folder / "csv" / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    points: Points = {}
    for row in rows:
        for name, cell in row.items():
            if cell and name != "step":
                points.setdefault(name, []).append([int(row["step"]), float(cell)])
    remember("lightning/csv", points)
    remember("lightning/events", event_points(folder / "events"))


def event_points(folder: Path) -> Points:
    """What TensorBoard's own reader says, with its limit of 10,000 points a tag taken away."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    found.Reload()
    points: Points = {
        tag: [[e.step, e.value, e.wall_time] for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]
    }
    for tag in found.Tags()["tensors"]:
        if found.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
            rows = found.Tensors(tag)
            points[tag] = [[e.step, float(e.tensor_proto.float_val[0]), e.wall_time] for e in rows]
    return points


def tensorboard(folder: Path) -> None:
    """torch's SummaryWriter: both forms of scalars, a histogram and text, and a restart from step 40."""
    from torch.utils.tensorboard import SummaryWriter

    for part, (first, purge) in enumerate(((0, None), (40, 40))):
        with SummaryWriter(str(folder), purge_step=purge, filename_suffix=f".{part}") as writer:
            for step, row in training(50 if part == 0 else STEPS, first):
                for at, (name, value) in enumerate(row.items()):
                    writer.add_scalar(name, value, step, new_style=at % 2 == 1, walltime=1.7e9 + 100 * part + step / 8)
                if step % 10 == 0:
                    writer.add_histogram("weights", torch.randn(20), step)
                    writer.add_text("said", "nothing", step)
    remember("tensorboard", event_points(folder))


def trainer(folder: Path) -> None:
    """The Hugging Face Trainer; one batch has a loss of NaN, which its log does not show."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Odd(Energy):
        seen = 0

        def forward(self, hidden: Tensor, actions: Tensor) -> dict[str, Tensor]:
            answer = super().forward(hidden, actions)
            if self.training:
                self.seen += 1
                if self.seen == 22:
                    answer["loss"] = answer["loss"] * math.nan
            return {"loss": answer["loss"], "logits": answer["e_pos"][None]}

    class NoGradient(TrainerCallback):
        """Lets the batch whose loss is NaN leave the weights alone, as a scaler of losses would."""

        def on_pre_optimizer_step(self, *_: Any, model: nn.Module | None = None, **__: Any) -> None:
            assert model is not None
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter.grad.nan_to_num_(0.0)

    with tempfile.TemporaryDirectory() as work:
        arguments = TrainingArguments(
            work,
            max_steps=STEPS,
            per_device_train_batch_size=BATCH,
            learning_rate=0.03,
            warmup_steps=6,
            logging_steps=3,
            eval_strategy="steps",
            eval_steps=15,
            save_strategy="no",
            report_to=[],
            seed=0,
            use_cpu=True,
            label_names=["actions"],
            remove_unused_columns=False,
            disable_tqdm=True,
            include_for_metrics=["loss"],
        )
        data = {"train_dataset": Samples(30 * BATCH), "eval_dataset": Samples(2 * BATCH)}
        made = Trainer(Odd(), arguments, callbacks=[NoGradient()], **data)
        made.train()
        folder.mkdir()
        made.state.save_to_json(str(folder / "trainer_state.json"))
    points: Points = {}
    for entry in made.state.log_history:
        for name, value in entry.items():
            if name != "step":
                points.setdefault(name, []).append([entry["step"], float(value)])
    remember("trainer", points)


def mlflow(folder: Path) -> None:
    """The same loop into MLflow's file store and into its database, with a second run in each."""
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    import mlflow as tool

    folder.mkdir()
    for name, uri in (("mlruns", (folder / "mlruns").as_uri()), ("mlflow.db", f"sqlite:///{folder / 'mlflow.db'}")):
        tool.set_tracking_uri(uri)
        if name == "mlflow.db":
            tool.create_experiment("energies", artifact_location="artifacts")
        tool.set_experiment("energies")
        for run_name, steps in (("first", 10), ("second", STEPS)):
            with tool.start_run(run_name=run_name) as run:
                tool.log_params({"tau": TAU, "batch_size": BATCH, "optim/lr": 0.03})
                for step, row in training(steps):
                    for metric, value in row.items():
                        tool.log_metric(metric, value, step=step, timestamp=1_700_000_000_000 + 125 * step)
            client, key = tool.MlflowClient(), run.info.run_id
            points: Points = {
                metric: [[p.step, p.value, p.timestamp / 1000] for p in client.get_metric_history(key, metric)]
                for metric in row
            }
            remember(f"mlflow/{name}#{run_name}", points, id=key)
    without_traces(folder)


def without_traces(folder: Path) -> None:
    """Takes out of MLflow's stores who made them, and where, and empties of tables that hold nothing."""
    for path in (folder / "mlruns").rglob("*"):
        if path.name == "meta.yaml":
            text = path.read_text().replace(str(folder), "/mlflow")
            path.write_text(text.replace(f"user_id: {getuser()}", "user_id: me"))
        elif path.parent.name == "tags" and path.name != "mlflow.runName":
            path.unlink()
    for left in (".trash", "models"):
        shutil.rmtree(folder / "mlruns" / left, ignore_errors=True)
    kept = ("metrics", "latest_metrics", "params", "runs", "experiments", "alembic_version")
    with closing(sqlite3.connect(folder / "mlflow.db", isolation_level=None)) as database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            if table not in kept and not table.startswith("sqlite_"):
                database.execute(f'DROP TABLE "{table}"')
        database.execute("UPDATE runs SET artifact_uri = 'artifacts', user_id = 'me', source_name = ''")
        database.execute("UPDATE experiments SET artifact_location = 'artifacts'")
        database.execute("VACUUM")


def trackio(folder: Path) -> None:
    """The same loop into trackio's database, two runs in one project."""
    os.environ["TRACKIO_DIR"] = str(folder)
    os.environ["HF_HUB_OFFLINE"] = "1"
    import trackio as tool
    from trackio.sqlite_storage import SQLiteStorage

    for name, steps in (("first", 10), ("second", STEPS)):
        run = tool.init(project="energies", name=name, config={"tau": TAU, "batch_size": BATCH}, embed=False)
        for step, row in training(steps):
            tool.log(row, step=step)
        run.finish()
        points: Points = {}
        for entry in SQLiteStorage.get_logs("energies", name):
            for metric, value in entry.items():
                if metric not in ("step", "timestamp"):
                    points.setdefault(metric, []).append([entry["step"], float(value), str(entry["timestamp"])])
        remember(f"trackio#{name}", points)
    for left in folder.iterdir():
        if left.name != "energies.db":
            shutil.rmtree(left) if left.is_dir() else left.unlink()


MAKERS = {"lightning": lightning, "tensorboard": tensorboard, "trainer": trainer, "mlflow": mlflow, "trackio": trackio}
PACKAGES = ("lightning", "tensorboard", "transformers", "accelerate", "mlflow", "trackio", "torch")


def main() -> None:
    """All logs, or those named on the command line, and what is expected of them."""
    path = HERE / "expected.json"
    if path.exists():
        EXPECTED.update(json.loads(path.read_text()))
    for name in sys.argv[1:] or MAKERS:
        folder = HERE / name
        shutil.rmtree(folder, ignore_errors=True)
        MAKERS[name](folder)
    EXPECTED["versions"] = {name: version(name) for name in PACKAGES}
    path.write_text(json.dumps(EXPECTED, separators=(",", ":"), sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
