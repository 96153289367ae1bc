"""Numbers to the trackers that the user's program has in use already; none of them is ever imported from here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakSet

PREFIX = "energydiag/"
Send = Callable[[Mapping[str, float], int], None]


_described: WeakSet[Any] = WeakSet()
"""Runs of W&B that know which of our numbers is the step."""


def _wandb() -> Send | None:
    run = getattr(sys.modules.get("wandb"), "run", None)
    if run is None:
        return None

    def send(values: Mapping[str, float], step: int) -> None:
        # a step of ours in their counter would push the user's own later rows to other steps
        if run not in _described:
            _described.add(run)
            run.define_metric(f"{PREFIX}step", hidden=True)
            run.define_metric(f"{PREFIX}*", step_metric=f"{PREFIX}step")
        run.log({**values, f"{PREFIX}step": step}, commit=False)

    return send


def _mlflow() -> Send | None:
    mlflow = sys.modules.get("mlflow")
    if mlflow is None or mlflow.active_run() is None:
        return None
    return lambda values, step: mlflow.log_metrics(dict(values), step=step)


def _trackio() -> Send | None:
    trackio = sys.modules.get("trackio")
    if trackio is None or sys.modules["trackio.context_vars"].current_run.get() is None:
        return None
    return lambda values, step: trackio.log(dict(values), step=step)


FOUND: Mapping[str, Callable[[], Send | None]] = {"wandb": _wandb, "mlflow": _mlflow, "trackio": _trackio}
"""How a run of each tracker is found; None where there is no current one."""


def to_writer(writer: Any) -> Send:
    """To a TensorBoard ``SummaryWriter`` that the user has opened."""

    def send(values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    return send


class Forwarding:
    """Sends to all that are in use; one that fails is told of and dropped.

    Args:
        writer: A ``SummaryWriter``, or None.
        tell: Is given what went wrong.
    """

    def __init__(self, writer: Any, tell: Callable[[str], None]) -> None:
        self._own: dict[str, Send] = {} if writer is None else {"TensorBoard": to_writer(writer)}
        self._dropped: set[str] = set()
        self._tell = tell

    def add(self, name: str, send: Send) -> None:
        """One more receiver; a tracker of this name is not looked for any more."""
        self._own[name] = send

    def send(self, values: Mapping[str, float], step: int) -> None:
        """Sends numbers of a step, by our names."""
        named = {f"{PREFIX}{name}": value for name, value in values.items()}
        for name in (*self._own, *(name for name in FOUND if name not in self._own)):
            if name in self._dropped:
                continue
            try:
                send = self._own.get(name) or FOUND[name]()
                if send is not None:
                    send(named, step)
            except Exception as error:  # a tracker's trouble is no reason to end a training
                self._dropped.add(name)
                self._tell(f"{name} gets no more numbers: {type(error).__name__}: {error}")
