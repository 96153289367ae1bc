"""Makes the checkpoints of this folder with the trainers that people use; see README.md."""

from __future__ import annotations

import json
import os
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

from parts import ACTION, CONTEXT, make_batch  # noqa: E402

from energydiag.models.cross_attention import CrossAttentionEnergy  # noqa: E402

BATCH = make_batch(8)
EXPECTED: dict[str, list[float]] = {}


class Samples(Dataset[dict[str, Tensor]]):
    """The batch of `parts.make_batch`, row by row."""

    def __len__(self) -> int:
        return len(BATCH)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"hidden": BATCH.hidden[index], "actions": BATCH.actions[index], "pad_mask": BATCH.pad_mask[index]}


class Policy(nn.Module):
    """A policy with an energy head in it; some of its parts are wrapped as training does it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Linear(CONTEXT, CONTEXT)
        self.energy_head = CrossAttentionEnergy(CONTEXT, ACTION, hidden=8, nhead=2, head="rescaled")

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor) -> dict[str, Tensor]:
        """InfoNCE over the batch's own actions."""
        rows = len(hidden)
        every = hidden.repeat_interleave(rows, 0), actions.repeat(rows, 1, 1), pad_mask.repeat_interleave(rows, 0)
        energy = self.energy_head(*every).reshape(rows, rows)
        return {"loss": nn.functional.cross_entropy(-energy / 0.5, torch.arange(rows))}


def remember(name: str, policy: Policy) -> None:
    """What the head of a trained policy answers."""
    policy.eval()
    head: Any = policy.energy_head
    with torch.no_grad():
        EXPECTED[name] = head(BATCH.hidden, BATCH.actions, BATCH.pad_mask).tolist()


def fresh(name: str) -> Path:
    folder = Path(name)
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def lightning() -> None:
    from lightning import LightningModule, Trainer
    from lightning.pytorch.callbacks import EarlyStopping, WeightAveraging
    from torch.optim.swa_utils import get_ema_avg_fn

    class Module(LightningModule):
        def __init__(self, learning_rate: float) -> None:
            super().__init__()
            self.save_hyperparameters({"learning_rate": learning_rate})
            self.model = Policy()
            self.model.energy_head.cross = torch.compile(self.model.energy_head.cross, backend="eager")

        def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:  # noqa: ARG002
            loss = self.model(**batch)["loss"]
            self.log("loss", loss)
            return loss

        def on_train_epoch_end(self) -> None:
            self.trainer.save_checkpoint("lightning.ckpt")

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=self.hparams["learning_rate"])

    module = Module(0.1)
    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[EarlyStopping("loss"), WeightAveraging(avg_fn=get_ema_avg_fn(0.5))],
    )
    trainer.fit(module, DataLoader(Samples(), batch_size=4))
    held = torch.load("lightning.ckpt", weights_only=True)
    for name in ("state_dict", "current_model_state"):
        module.load_state_dict(held[name])
        remember(f"lightning {name}", module.model)


def accelerate() -> None:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    policy = Policy()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=0.1)
    model, optimizer, loader = accelerator.prepare(policy, optimizer, DataLoader(Samples(), batch_size=4))
    for batch in loader:
        optimizer.zero_grad()
        accelerator.backward(model(**batch)["loss"])
        optimizer.step()
    remember("accelerate", policy)
    accelerator.save_state(str(fresh("accelerate-state")))
    accelerator.save_model(model, str(fresh("accelerate-sharded")), max_shard_size="2KB")
    accelerator.save_model(model, str(fresh("accelerate-bin")), max_shard_size="2KB", safe_serialization=False)


def transformers() -> None:
    from transformers import Trainer, TrainingArguments

    policy = Policy()
    arguments = TrainingArguments(
        output_dir=str(fresh("transformers")),
        max_steps=3,
        per_device_train_batch_size=4,
        learning_rate=0.1,
        save_steps=3,
        use_cpu=True,
        report_to=[],
        remove_unused_columns=False,
        disable_tqdm=True,
    )
    Trainer(policy, arguments, train_dataset=Samples()).train()
    remember("transformers", policy)
    # pickled settings, which name the machine
    Path("transformers/checkpoint-3/training_args.bin").unlink()


def main() -> None:
    """Writes everything into this folder."""
    os.chdir(HERE)
    for make in (lightning, accelerate, transformers):
        make()
    packages = ("torch", "lightning", "accelerate", "transformers", "safetensors")
    written = {"versions": {name: version(name) for name in packages}, "energies": EXPECTED}
    Path("expected.json").write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
