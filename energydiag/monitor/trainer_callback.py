"""A callback for the Trainer of Hugging Face's transformers."""

# ruff: noqa: ARG002 (what the hooks are given is the Trainer's choice)

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from energydiag.errors import UsageError
from energydiag.monitor.watching import Watching

_LOGGED = {
    "loss": "loss",
    "grad_norm": "gradient_norm",
    "learning_rate": "learning_rate",
    "eval_loss": "validation_loss",
}
"""What the Trainer logs, and what we call it."""


def trainer_callback(monitor: Watching) -> Any:
    """The callback; see `Monitor.hf`.

    Raises:
        UsageError: transformers is not installed.
    """
    try:
        callback: Any = importlib.import_module("transformers").TrainerCallback
    except ImportError as error:
        raise UsageError("transformers is not installed.", "pip install transformers.") from error

    class EnergyMonitor(callback):  # type: ignore[misc]
        """Watches an energy head.

        Steps are the Trainer's ``global_step``, from 1. It tells loss, learning rate and the gradients' norm before
        clipping every ``logging_steps``, the loss as the mean since it was told last.
        """

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            # the gradients that are there after a step were clipped; their norm before comes with what is logged
            monitor.measures_gradients = False
            monitor.tell_settings(max_grad_norm=args.max_grad_norm or None)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            monitor.step(step=state.global_step)
            if monitor.should_stop:
                control.should_training_stop = True

        def on_log(
            self,
            args: Any,
            state: Any,
            control: Any,
            logs: Mapping[str, Any] | None = None,
            **_: Any,
        ) -> None:
            known = {ours: (logs or {}).get(theirs) for theirs, ours in _LOGGED.items()}
            if state.global_step:
                monitor.record(state.global_step, **known)

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            monitor.flush()

    return EnergyMonitor()
