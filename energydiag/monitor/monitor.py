"""The monitor: called once a step, it looks now and then, writes, forwards, and raises an alarm."""

from __future__ import annotations

import json
import logging
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from energydiag import __version__
from energydiag.errors import UsageError, first_line
from energydiag.heads import head_form
from energydiag.models.calling import calling_of
from energydiag.models.energy_function import EnergyFunction, Sign
from energydiag.models.unwrapping import unwrapped
from energydiag.monitor.forwarding import Forwarding
from energydiag.monitor.held_out import Given, Looker, head_kind, held_out_of
from energydiag.monitor.history import MARK, line_of
from energydiag.monitor.judging import Judge, Wanted, checked_wanted, is_wanted
from energydiag.monitor.log_folder import EVENTS, LogFolder
from energydiag.monitor.pace import Pace
from energydiag.monitor.pending import Pending
from energydiag.monitor.processes import are_many, is_main, of_first
from energydiag.monitor.sharded_weights import why_not_alone
from energydiag.monitor.undisturbed import undisturbed
from energydiag.monitor.verifying import Verified, verified
from energydiag.monitor.weights import copied, gradient_norm, weight_numbers
from energydiag.results import Finding
from energydiag.runs import RunLog, Told, limits_of

EVERY = 100
"""Steps between two looks. On a CPU a look takes a tenth to a fifth of a step, .09 % to .24 % of the training
(benchmarks/monitor.py); where it takes more than the limit, the interval grows by itself."""

SAMPLES = 32
MOST_OVERHEAD = 0.03

MOST_ROWS = 1 << 16
"""Of the log; above, half of the rows without a look are dropped. 65536 rows are about 5 MB, and are judged in under a
second."""

MOST_WAITING = 4096
"""Numbers that wait for a look, which may be far away; then they are written without one."""

_log = logging.getLogger("energydiag")

_SEEN_HERE = frozenset({"energy_positive", "energy_negative", "gap", "auroc", "top1", "saturation", "alignment"})
"""What is measured on the held-out samples. The same of a training batch is something else and must not be mixed in."""


class Monitor:
    """Watches an energy head while it trains.

        with energydiag.Monitor(model, "heldout.safetensors", "runs/a") as monitor:
            for batch in loader:
                ...  # forward, backward, optimizer.step()
                monitor.step(loss=loss, lr=schedule.get_last_lr()[0])

    A step without a look costs a tenth of a millisecond and does not wait for a GPU. A look measures the head on a
    few held-out samples and leaves everything as it was: weights, gradients, modes, buffers, random numbers. Training
    with and without it gives the same weights to the bit.

    The folder gets ``metrics.jsonl`` and ``config.json``, which ``energydiag inspect run FOLDER`` reads, and
    ``events.jsonl``: what was not measured and why, alarms, and longer intervals. After a crash, what was written up to
    the last look is whole.

    Nothing in here ends a training: what fails is told once, in the log of Python's ``logging`` (logger
    ``energydiag``) and in ``events.jsonl``, and is left out from then on. ``on_alert`` alone may raise.

    Args:
        model: The energy head that is trained, called as ``model(hidden, actions, pad_mask)`` or as its signature says.
            What ``torch.compile`` or data parallelism wrapped is unwrapped. Of a head whose weights are spread over
            processes (FSDP), only what is passed to `step` is logged.
        held_out: Samples that are not trained on: a `Batch`, the path of a dump, or tensors by the names that a dump
            uses (``hidden`` ``[N, S, D]``, ``actions`` ``[N, H, A]``, …).
        folder: Where the log is kept.
        every: Steps between two looks.
        tau: Temperature of the loss; with ``batch_size``, floor and chance of InfoNCE are known.
        batch_size: Contexts per step whose actions are each other's negatives.
        objective: What it is trained with, by a name of `energydiag.objectives`; None: inferred from the log.
        head: The head's form, by a name of `energydiag.heads`; None: found by watching the model.
        sign: ``"score"`` where high means good; None: an energy, or a score where the answer's name says so.
        candidates: Whether the model takes actions ``[B, N, H, A]`` and answers with ``[B, N]``.
        samples: At most so many held-out samples are looked at.
        most_overhead: Largest share of the time that looking may take; where it is exceeded, ``every`` is stretched.
            0 never stretches it.
        alert_on: Which findings raise an alarm: ``"critical"``, ``"warning"`` (and worse), codes, or their beginnings.
        stop_on: Which findings set `should_stop`, likewise.
        on_alert: Called with each finding the first time it is made; None: it is told as everything else is.
        writer: A TensorBoard ``SummaryWriter`` to forward to. Current runs of W&B, MLflow and trackio are found.
        resume: Go on with the log in ``folder``, if one is there.
        main_process: Whether this process measures and writes; None: the one with rank 0 of torch.distributed does.
        config: Further settings for ``config.json``.

    Raises:
        UsageError: The folder holds another run, or an argument cannot be.
        InvalidBatch: The held-out samples do not fit.
        UnreadableFile: They cannot be read.
    """

    def __init__(
        self,
        model: nn.Module | EnergyFunction,
        held_out: Given,
        folder: str | Path,
        every: int = EVERY,
        *,
        tau: float | None = None,
        batch_size: int | None = None,
        objective: str | None = None,
        head: str | None = None,
        sign: Sign | None = None,
        candidates: bool = False,
        samples: int = SAMPLES,
        most_overhead: float = MOST_OVERHEAD,
        alert_on: Wanted = "critical",
        stop_on: Wanted = (),
        on_alert: Callable[[Finding], None] | None = None,
        writer: Any = None,
        resume: bool = False,
        main_process: bool | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        if every < 1 or samples < 2 or not 0 <= most_overhead < 1:
            raise UsageError(
                f"every={every}, samples={samples}, most_overhead={most_overhead} cannot be.",
                "look every 1 step or more, at 2 samples or more, for less than all of the time.",
            )
        if head is not None:
            head_form(head)  # says what cannot be
        self.folder = Path(folder)
        told = Told(batch_size=batch_size, tau=tau, objective=objective)
        limits_of(RunLog({}, {}, {}, "", "jsonl", "", 0), told)  # says what cannot be
        self._alert_on, self._stop_on = _wanted("alert_on", alert_on), _wanted("stop_on", stop_on)
        self._energy = _energy(model, sign, candidates)
        self._held_out = held_out_of(held_out, samples)
        self._looker = Looker(self._energy, self._held_out)
        self._asked_main = main_process
        self._resume = resume
        self._on_alert = on_alert
        self._pace = Pace(every, most_overhead)
        self._judge = Judge(told)
        self._forwarding = Forwarding(writer, self._tell)
        self._settings: dict[str, Any] = {
            **(config or {}),
            **{
                name: value
                for name, value in (("tau", tau), ("batch_size", batch_size), ("head", head), ("objective", objective))
                if value
            },
        }
        self._pending = Pending(self._tell)
        self._said: set[str] = set()
        self._failed: set[str] = set()
        self._alerts: dict[str, Finding] = {}
        self._gradient_norm: float | None = None
        self._weights_before: list[Tensor] | None = None
        self._stop = False
        self._closed = False
        self._begun = False
        self._step, self._stride = -1, 1
        self._seconds_before = 0.0
        self._started = self._last_look = time.perf_counter()
        self._last_step = 0
        self._looks = 0
        self._log: LogFolder | None = None
        self._writes = is_main() if main_process is None else main_process
        self.measures_gradients = True
        if self._writes:
            self._open()

    # what a user calls

    @property
    def should_stop(self) -> bool:
        """Whether a finding of ``stop_on`` was made; the same in all processes after a look."""
        return self._stop

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings that raised an alarm or a stop so far, in their order."""
        return tuple(self._alerts.values())

    def gradients(self) -> None:
        """Measures the gradients' norm for the step to come, if a look is due then; else does nothing.

        Between the backward pass (and ``unscale_``) and clipping. Without this call, and without ``gradient_norm`` in
        `step`, the norm is that of the gradients which are there when `step` is called: after clipping.
        """
        due = self._step + self._stride >= self._pace.due
        if due and self._writes and not self._closed and not why_not_alone(self._energy.module):
            self._gradient_norm = self._tried("gradient_norm", lambda: gradient_norm(self._energy.module))

    def step(
        self,
        loss: Tensor | float | None = None,
        *,
        step: int | None = None,
        lr: Tensor | float | None = None,
        gradient_norm: Tensor | float | None = None,
        **values: Any,
    ) -> None:
        """Counts one step of the optimiser; call it after ``optimizer.step()`` and before ``zero_grad()``.

        Args:
            loss: What was differentiated. Tensors are kept where they are until the next look.
            step: The step's number, larger than the last one's; None: one more than that, or as many more as the
                last time, from 0 on.
            lr: Learning rate of this step.
            gradient_norm: Before clipping, as ``clip_grad_norm_`` returns it.
            **values: More numbers to log, by names of `energydiag.runs.NAMES` (``info_nce``, ``tau``,
                ``validation_loss``, …) or any other.
        """
        if self._closed:
            return
        number = self._number(step)
        given = {"loss": loss, "learning_rate": lr, "gradient_norm": gradient_norm, **values}
        self.record(number, **given)
        due = number >= self._pace.due
        if self._writes and not due and number + self._stride >= self._pace.due:
            self._weights_before = self._tried("update_ratio", lambda: copied(self._energy.module))
        if due:
            self._pace.looked(number, 0.0, None)
            found = self._looked(number, frozenset(name for name, value in given.items() if value is not None))
            self._agree()
            if self._on_alert is not None:
                for finding in found:
                    self._on_alert(finding)
        elif len(self._pending) >= MOST_WAITING:
            self.flush()

    def verify(self, energies: Tensor, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> bool | None:
        """Compares the loop's energies with those of the model as it is called here, and says once what comes out.

        Call it once, after the loop computed the energies and before ``optimizer.step()``: weights are then the same.

        Args:
            energies: What the loop computed for these actions in these contexts, ``[n]``; in train mode too, as far as
                dropout lets it be seen.
            hidden: Contexts ``[n, S, D]`` or ``[n, D]``, as the loop has them before it calls the model.
            actions: ``[n, H, A]``.
            pad_mask: ``[n, S]``, True where a token is hidden.

        Returns:
            Whether they agree; None where nothing was compared: in other processes than the first, or after a failure.
        """
        if self._closed or not (is_main() if self._asked_main is None else self._asked_main):
            return None
        values = {"energies": energies, "hidden": hidden, "actions": actions, "pad_mask": pad_mask}
        found: Verified | None = self._tried(
            "agreement with the loop", lambda: verified(self._energy, values, with_hooks=self._looker.needs_hooks)
        )
        if found is None:
            return None
        self._tell(found.told, aloud=not found.agrees)
        return found.agrees

    def record(self, step: int, **values: Any) -> None:
        """Logs numbers of a step without counting one, for what is known later or more seldom than the loss.

        Args:
            step: Not smaller than any before.
            **values: As in `step`.
        """
        if self._closed or not self._writes:
            return
        for name in [name for name in values if name in _SEEN_HERE]:
            self._tell(f"`{name}` is measured on the held-out samples; the value that was given is not logged")
            del values[name]
        self._pending.add(step, values)

    def close(self) -> None:
        """Writes what is left; nothing is watched any more."""
        self.flush()
        self._closed = True

    def __enter__(self) -> Monitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def lightning(self) -> Any:
        """A ``lightning`` (or ``pytorch_lightning``) callback that makes all the calls."""
        from energydiag.monitor.lightning_callback import lightning_callback

        return lightning_callback(self)

    def hf(self) -> Any:
        """A ``transformers.TrainerCallback`` that makes all the calls."""
        from energydiag.monitor.trainer_callback import trainer_callback

        return trainer_callback(self)

    def tell_settings(self, **settings: Any) -> None:
        """Adds to ``config.json`` what an adapter knows; what the user gave stands."""
        self._settings = {**{name: value for name, value in settings.items() if value is not None}, **self._settings}

    @property
    def forwarding(self) -> Forwarding:
        """Where numbers are sent besides the log."""
        return self._forwarding

    # one look

    def _open(self) -> LogFolder:
        if self._log is None:
            self._log = LogFolder(self.folder, self._resume)
        return self._log

    def _number(self, step: int | None) -> int:
        """The number of this step; at the first one, the log is made ready."""
        if not self._begun:
            if self._asked_main is None:  # processes may have been joined only now
                self._writes = is_main()
            history = self._open().history if self._writes else None
            earlier = None if history is None else history.last
            first = step if step is not None else 0 if earlier is None else earlier + 1
            self._begin(first)
            self._step = first
            return first
        if step is None or step <= self._step:
            if step is not None:
                self._tell("steps must grow from call to call; they are counted instead")
            step = self._step + self._stride
        self._step, self._stride = step, step - self._step
        return step

    def _begin(self, first: int) -> None:
        self._begun = True
        self._pace.due = first
        self._last_step = first
        self._started = self._last_look = time.perf_counter()
        if self._log is not None:
            try:
                self._log.begin(first)
            except UsageError as error:
                self._tell(error.message)
            seconds = [row[MARK] for row in self._log.history.rows() if MARK in row]
            self._seconds_before = seconds[-1] if seconds else 0.0

    def _looked(self, step: int, given: frozenset[str]) -> tuple[Finding, ...]:
        """Looks, if this process is the one to do it; the findings that are new."""
        if not self._writes:
            return ()
        try:
            return self._look(step, given)
        except Exception as error:  # training goes on, whatever is wrong here
            self._tell(f"nothing is measured or logged any more: {type(error).__name__}: {first_line(error)}")
            self._writes = False
            return ()

    def _look(self, step: int, given: frozenset[str]) -> tuple[Finding, ...]:
        device = self._energy.device
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # what is still to be done of the training is not the look's time
        begun = time.perf_counter()
        steps = step - self._last_step
        step_seconds = (begun - self._last_look) / steps if steps > 0 and self._looks > 0 else None
        row = {name: value for name, value in self._measured().items() if name not in given}
        self._gradient_norm = self._weights_before = None
        row[MARK] = self._seconds_before + begun - self._started
        self._pending.add(step, row)
        if self._looks == 0:
            self._write_config()
        self.flush()
        self._forwarding.send(self._pending.last, step)
        new = self._judged()
        self._looks += 1
        self._last_look, self._last_step = time.perf_counter(), step
        spent = self._last_look - begun
        # the first look finds out how the model can be asked, which the others need not
        interval = self._pace.looked(step, spent, step_seconds if self._looks > 1 else None)
        if interval > self._pace.every:
            share = spent / (spent + self._pace.every * (step_seconds or 0.0))
            self._tell(
                f"looking every {self._pace.every} steps would take {share:.0%} of the time, more than "
                f"{self._pace.most:.0%}; the interval is stretched where that is so, to {interval} steps now",
                "interval",
            )
        return new

    def _measured(self) -> dict[str, float]:
        """Everything that can be measured now."""
        module = self._energy.module
        found: dict[str, float] = {}
        why_not = why_not_alone(module)
        if why_not:
            self._tell(f"only what is passed to `step` is logged: the model cannot be asked by one process, {why_not}")
            return {}
        with torch.no_grad():
            norm = self._gradient_norm
            if norm is None and self.measures_gradients:
                norm = self._tried("gradient_norm", lambda: gradient_norm(module))
            if norm is not None:
                found["gradient_norm"] = norm
            found |= self._tried("weights", lambda: weight_numbers(module, self._weights_before)) or {}
        with undisturbed(module, with_hooks=self._looker.needs_hooks):
            found |= self._tried("separation", self._looker.separation) or {}
            found |= self._tried("alignment", self._looker.alignment) or {}
            assumed = self._tried("sign", self._looker.assumed_sign)
        if assumed:
            self._tell(assumed)
        return found

    def _tried(self, name: str, measure: Callable[[], Any]) -> Any:
        """What was measured, None where it failed; what failed once is not tried again."""
        if name in self._failed:
            return None
        try:
            return measure()
        except Exception as error:  # what a stranger's module raises may be anything
            self._failed.add(name)
            self._tell(f"{name} is not measured: {first_line(error)}")
            return None

    def _write_config(self) -> None:
        log, energy = self._open(), self._energy
        reading = self._looker.known_reading
        kind = None if reading is None else head_kind(reading)
        if kind is not None:
            self._settings.setdefault("head", kind)
        about = {
            "model": type(energy.module).__name__,
            "parameters": energy.parameter_count,
            "energy": "not known" if reading is None else reading.describe(),
            "every": self._pace.every,
            "held_out_samples": len(self._held_out.batch),
            "energydiag": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        }
        try:
            note = log.write_config({**self._settings, "monitor": about})
        except (UsageError, TypeError, ValueError) as error:
            note = f"config.json was not written: {first_line(error)}"
        if note:
            self._tell(note)

    def flush(self) -> None:
        """Writes what was passed since the last look; waits for the device that it is on."""
        if not self._writes or self._closed or not self._begun:
            return
        log = self._open()
        rows = self._pending.taken()
        for row in rows:
            log.history.add(int(row["step"]), {name: value for name, value in row.items() if name != "step"})
        try:
            log.append("".join(map(line_of, rows)))
            if len(log.history) > MOST_ROWS:
                log.history = log.history.thinned()
                log.write_anew()
                self._tell("the log is long: every second row without a look was dropped, and will be now and then")
        except (OSError, UsageError) as error:
            self._tell(f"the log cannot be written: {first_line(error)}")

    def _judged(self) -> tuple[Finding, ...]:
        """The findings that are asked for and were not made before."""
        config = {n: v if isinstance(v, str) else json.dumps(v, default=str) for n, v in self._settings.items()}
        found = self._tried("rules", lambda: self._judge.findings(self._open().history, config)) or ()
        wanted = (*self._stop_on, *self._alert_on)
        new = tuple(f for f in found if f.code not in self._alerts and is_wanted(f, wanted))
        self._alerts |= {finding.code: finding for finding in new}
        self._stop |= any(is_wanted(finding, self._stop_on) for finding in new)
        for finding in new:
            text = f"{finding.code} {finding.name} ({finding.severity}) at step {self._step}: {finding.summary}"
            stops = " Training is to stop." if is_wanted(finding, self._stop_on) else ""
            self._tell(text + stops, aloud=self._on_alert is None)
        return new

    def _agree(self) -> None:
        """All processes stop together, and look at the same steps."""
        if self._stop_on and are_many():
            own = [int(self._stop), self._pace.due, self._step]
            stop, self._pace.due, self._step = of_first(own, self._energy.device)
            self._stop = bool(stop)

    def _tell(self, text: str, key: str | None = None, *, aloud: bool = True) -> None:
        """Says something once."""
        if (key or text) in self._said:
            return
        self._said.add(key or text)
        if aloud:
            _log.warning("Monitor: %s", text)
        if self._log is not None:
            with suppress(OSError):
                self._log.append(json.dumps({"step": self._step, "event": text}) + "\n", EVENTS)


def _wanted(argument: str, given: Wanted) -> tuple[str, ...]:
    try:
        return checked_wanted(given)
    except ValueError as error:
        raise UsageError(
            f"{argument}={error.args[0]!r} is neither a severity nor a code of a rule for training logs.",
            'use "critical", "warning", or codes such as "ED702" (`energydiag rules` lists them).',
        ) from error


def _energy(model: nn.Module | EnergyFunction, sign: Sign | None, candidates: bool) -> EnergyFunction:
    if isinstance(model, EnergyFunction):
        return model
    if not isinstance(model, nn.Module):
        raise UsageError(f"A {type(model).__name__} cannot be watched.", "give the torch.nn.Module that is trained.")
    module = unwrapped(model)
    return EnergyFunction(module, type(module).__name__, sign=sign, calling=calling_of(module, candidates))
