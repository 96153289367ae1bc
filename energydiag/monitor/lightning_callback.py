"""A callback for Lightning's Trainer."""

# ruff: noqa: ARG002 (what the hooks are given is Lightning's choice)

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any

from energydiag.errors import UsageError
from energydiag.monitor.watching import Watching

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")
_TRACKERS = {"TensorBoardLogger": "TensorBoard", "WandbLogger": "wandb", "MLFlowLogger": "mlflow"}
"""Lightning's loggers that numbers are forwarded to, and whose own forwarding they stand for."""


def lightning_callback(monitor: Watching) -> Any:
    """The callback; see `Monitor.lightning`.

    Raises:
        UsageError: Lightning is not installed.
    """
    callback: Any = _package().Callback

    class EnergyMonitor(callback):  # type: ignore[misc]
        """Watches an energy head.

        Steps are those of the optimiser, from 0. The gradients' norm is taken before clipping; the loss is the mean
        over the batches of a step.
        """

        def __init__(self) -> None:
            super().__init__()
            self._seen = 0
            self._loss: Any = None

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self._seen = trainer.global_step
            if trainer.gradient_clip_algorithm in (None, "norm"):
                monitor.tell_settings(clip_norm=trainer.gradient_clip_val)
            for logger in trainer.loggers:
                name = _TRACKERS.get(type(logger).__name__)
                if name is not None:
                    monitor.forwarding.add(name, logger.log_metrics)

        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            monitor.gradients()

        def on_train_batch_end(
            self,
            trainer: Any,
            pl_module: Any,
            outputs: Any,
            batch: Any,
            batch_idx: int,
        ) -> None:
            loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
            if loss is not None:  # Lightning has divided it by the number of batches whose gradients are added up
                loss = loss.detach() if self._loss is None else self._loss + loss.detach()
            if trainer.global_step == self._seen:
                self._loss = loss
                return
            self._seen, self._loss = trainer.global_step, None
            rates = [group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups]
            monitor.step(loss, step=trainer.global_step - 1, lr=rates[0] if rates else None)
            trainer.should_stop = trainer.should_stop or monitor.should_stop

        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            if not trainer.sanity_checking and trainer.global_step:
                found = [trainer.callback_metrics.get(name) for name in ("val_loss", "validation_loss", "val/loss")]
                known = [value for value in found if value is not None]
                monitor.record(trainer.global_step - 1, validation_loss=known[0] if known else None)

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            monitor.flush()

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            monitor.flush()

    return EnergyMonitor()


def _package() -> Any:
    """Lightning under the one of its two names that the program has in use, else the one that is installed."""
    for name in sorted(_PACKAGES, key=lambda name: name not in sys.modules):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise UsageError("Lightning is not installed.", "pip install lightning.")
