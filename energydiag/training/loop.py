"""The training loop: seeded, validated, logged row by row, stopped at the first value that is not finite, resumable.

A run can be killed at any moment. What a step draws depends on the seed and the step alone, so that the run that goes
on from the last saved state does what the undisturbed one would have done, to the last bit on a CPU (with the same
number of threads and the same torch). Several processes may share a run; see `energydiag.training.ranks`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from energydiag.batch import Batch
from energydiag.errors import UsageError
from energydiag.models.energy_function import EnergyFunction
from energydiag.negatives.part import Part
from energydiag.plan import TrainingPlan
from energydiag.training.handling import as_module_wants, dropout_of, saturation, settle
from energydiag.training.log import LogRow
from energydiag.training.needs import check_needs
from energydiag.training.objective import StepLoss, step_loss
from energydiag.training.randomness import generator, members, seed_of
from energydiag.training.ranks import Ranks
from energydiag.training.schedule import Pace, pace
from energydiag.training.state import (
    STATE_FILE,
    Event,
    Kept,
    RunState,
    copied,
    fill,
    identity,
    load_state,
    save_state,
    sweep,
)
from energydiag.training.temperature import clamp_log_tau, new_log_tau
from energydiag.training.validation import look, swap_ranks

__all__ = ["Event", "LogRow", "Stopped", "TrainingOutcome", "train"]

Stopped = Literal["finished", "early", "non-finite"]

SAVE_EVERY = 25
"""Updates between two saved states: less than a percent of the time for the sample heads (measured)."""


@dataclass(frozen=True)
class TrainingOutcome:
    """What a run came to; the module holds the weights.

    Attributes:
        rows: The log.
        events: Switches of the temperature, and why the run ended where that was not as planned.
        best_step: Updates that the weights had which the module was left with.
        best_score: Their validation score; NaN without validation samples.
        steps_done: Updates done in all.
        stopped: ``"finished"``, ``"early"`` (patience ran out) or ``"non-finite"``.
        tau: Temperature that those weights were trained with.
        fallen: Where no trained weights were kept although some had the better score: the parts of the score that were
            lower in those.
        reverted: Whether the weights of the start have lost something of the origin as well, and are no answer either.
    """

    rows: tuple[LogRow, ...]
    events: tuple[Event, ...]
    best_step: int
    best_score: float
    steps_done: int
    stopped: Stopped
    tau: float
    fallen: tuple[str, ...] = ()
    reverted: bool = False


def train(
    energy: EnergyFunction,
    batch: Batch,
    plan: TrainingPlan,
    *,
    validation: Batch | None = None,
    folder: Path | None = None,
    resume: bool = False,
    progress: Callable[[LogRow], None] | None = None,
    save_every: int = SAVE_EVERY,
    ranks: Ranks | None = None,
    origin: EnergyFunction | None = None,
) -> TrainingOutcome:
    """Trains the module in place and leaves it in eval mode.

    With validation samples it is left with the weights of the best validation score, those it came with included; where
    the plan is guarded, among the weights that are in no part of the score clearly worse than the origin, whatever the
    score of those it came with. Without, it is left with the last weights whose loss and gradient were finite.

    Several processes that share the run all call this with the same arguments, and all are left with the same weights.
    The plan's batch is then shared out among them, and rank 0 alone validates and writes.

    Args:
        energy: What to train; parameters that need no gradient stay as they are.
        batch: Training samples; contexts may be of a smaller type than the module.
        plan: What to do; ``plan.surgery`` is taken as done.
        validation: Looked at every ``plan.validate_every`` updates and at the end, for early stopping and the best.
        folder: Where state.pt and metrics.csv are kept, if anywhere.
        resume: Go on from the state in ``folder``; where none was saved yet, begin.
        progress: Called with every new row.
        save_every: Updates between two saved states. It does not change the result.
        ranks: The processes that share the run; None: those that torch.distributed was initialised with, if it was.
        origin: What the module was made from, if something was done to it: what a guarded plan must not fall behind.

    Raises:
        UsageError: The plan does not fit the samples, the folder holds a run and ``resume`` is off, or holds another
            run than this one, or cannot be written, or the batch cannot be shared out among the processes.
    """
    ranks = Ranks.current() if ranks is None else ranks
    with ranks.agreement():
        check_needs(plan, batch, validation, ranks.size)
        if folder is None and resume:
            raise UsageError("There is no folder to resume from.", "name the folder of the run.")
        if folder is not None and not resume and (folder / STATE_FILE).exists():
            raise UsageError(f"{folder} holds a training run already.", "resume it, or name another folder.")
    session = _Session(energy, batch, plan, validation, folder, progress, save_every, ranks, origin)
    devices = [energy.device] if energy.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices), dropout_of(energy.module, plan.dropout):
            session.begin(resume)
            while not session.run.stopped:
                session.advance()
    finally:
        energy.module.eval()
    return session.finish()


class _Session:
    """One run at work."""

    def __init__(
        self,
        energy: EnergyFunction,
        batch: Batch,
        plan: TrainingPlan,
        validation: Batch | None,
        folder: Path | None,
        progress: Callable[[LogRow], None] | None,
        save_every: int,
        ranks: Ranks,
        origin: EnergyFunction | None,
    ) -> None:
        self.energy = energy
        self.origin = energy if origin is None else origin
        self.module = energy.module
        self.batch = batch
        self.plan = plan
        self.validation = validation
        self.folder = folder
        self.progress = progress
        self.save_every = save_every
        self.ranks = ranks
        self.log_tau = new_log_tau(plan, energy.device)
        groups: list[dict[str, Any]] = [{"params": list(self.module.parameters())}]
        if self.log_tau is not None:
            groups.append({"params": [self.log_tau], "weight_decay": 0.0})
        self.optimiser = torch.optim.AdamW(groups, lr=plan.learning_rate, weight_decay=plan.weight_decay)
        start = copied(self.module.state_dict())
        self.run = RunState(Kept(start, 0, -math.inf, self._tau()))
        told = folder is not None or ranks.size > 1
        before = copied(self.origin.module.state_dict())
        self.identity = identity(plan, before, start, batch, validation, ranks.size) if told else {}
        self.started = time.perf_counter()

    def _tau(self) -> float:
        return self.plan.tau if self.log_tau is None else float(self.log_tau.detach().exp())

    def begin(self, resume: bool) -> None:
        """Loads the saved state, or looks at the weights it starts with."""
        settle(self.energy, self.batch)
        found = None
        with self.ranks.agreement():
            if resume and self.folder is not None:
                found = load_state(self.folder, self.identity)
        step = 0 if found is None else found[0].step
        self.ranks.check_same({**self.identity, "the step of the saved state": str(step)})
        if resume and self.folder is not None and self.ranks.is_first:
            sweep(self.folder)
        if found is not None:
            assert self.folder is not None  # nothing is found in no folder
            fill(self.folder, found, self.module, self.optimiser, self.log_tau)
            self.run = found[0]
            self.started -= self.run.seconds
            return
        if self.plan.steps == 0:
            self.run.stopped = "finished"
        if self.validation is not None:
            score, fallen = self._look(self.validation)
            self.run.lost = fallen if self.plan.guarded else []
            stands = math.isfinite(score) and not self.run.lost
            self.run.kept = replace(self.run.kept, score=score if stands else -math.inf)

    def _look(self, samples: Batch) -> tuple[float, list[str]]:
        """The validation score and what is worse than in the origin; the first process finds out for all."""
        own: tuple[float, tuple[str, ...]] = (math.nan, ())
        if self.ranks.is_first:
            seen = look(self.energy, samples, self.plan.seed)
            if not self.run.start:
                first = seen if self.origin is self.energy else look(self.origin, samples, self.plan.seed)
                self.run.start = dict(first.values)
            own = (seen.score, seen.fallen(self.run.start))
        score, fallen = json.loads(self.ranks.text_of_first(json.dumps(own)))
        return score, fallen

    def advance(self) -> None:
        """One step; sets ``run.stopped`` where it was the last."""
        plan, run, step = self.plan, self.run, self.run.step
        now = pace(plan, step)
        self.module.train()
        torch.manual_seed(seed_of(plan.seed, "dropout" if self.ranks.is_first else f"dropout {self.ranks.rank}", step))
        for group in self.optimiser.param_groups:
            group["lr"] = now.learning_rate
        own, part = self._share(members(len(self.batch), plan.batch_size, plan.seed, step))
        self.optimiser.zero_grad(set_to_none=True)
        with sdpa_kernel(SDPBackend.MATH):  # the other kernels have no second derivative
            loss = step_loss(self.energy, own, plan, generator(plan.seed, "noise", step), self.log_tau, part)
            torch.autograd.backward(loss.total)
        self.ranks.average_gradients([*self.module.parameters(), *([] if self.log_tau is None else [self.log_tau])])
        self.ranks.copy_from_first(self.module.buffers())
        loss = self._over_all(loss)
        norm = float(torch.nn.utils.clip_grad_norm_(self.module.parameters(), now.clip_norm or math.inf))
        self._tell_switches(loss, step)
        broken = self._not_finite(loss, norm)
        last = step + 1 == plan.steps
        samples = self.validation if last or (step + 1) % plan.validate_every == 0 else None
        due = step % plan.log_every == 0 or last or samples is not None or bool(broken)
        row = self._row(step, loss, now, norm, own, part) if due else None
        if broken:
            run.stopped = "non-finite"
            run.events.append(Event(step, f"stopped: {broken} at step {step}; the last good weights were restored"))
        else:
            self._update(loss)
            if samples is not None:
                score = self._validate(samples, loss)
                row = None if row is None else replace(row, validation_score=score)
            if run.step == plan.steps:
                run.stopped = "finished"
        if run.stopped:
            self._tell_what_is_kept()
        if row is not None:
            run.rows.append(row)
            if self.progress is not None:
                self.progress(row)
        if run.stopped or run.step % self.save_every == 0:
            self._save()

    def _share(self, index: Tensor) -> tuple[Batch, Part]:
        """This process's samples of a step, and where they stand among all; contexts of others are not touched."""
        rows = self.ranks.rows(len(index))
        own = as_module_wants(self.batch.take(index[rows]), self.energy)
        if self.ranks.size == 1:
            return own, Part.everything(own)
        bare = replace(self.batch, hidden=torch.empty(len(self.batch), 0), pad_mask=None)
        whole = as_module_wants(bare.take(index), self.energy)
        return own, Part(whole, rows.start, len(own), self.ranks.mean)

    def _over_all(self, loss: StepLoss) -> StepLoss:
        """The same loss with its values over all processes, without gradient."""
        cosine = math.nan if loss.alignment is None else loss.alignment
        own = torch.stack([loss.total.detach(), loss.info_nce.detach(), loss.total.new_tensor(cosine)])
        total, info_nce, alignment = self.ranks.mean(own)
        seen = None if loss.alignment is None else float(alignment)
        return replace(loss, total=total, info_nce=info_nce, alignment=seen)

    def _update(self, loss: StepLoss) -> None:
        """Takes the step whose gradients are there, and keeps the weights that have just shown to be good."""
        run, state = self.run, self.module.state_dict()
        if self.validation is None:
            run.kept = Kept(copied(state), run.step, -math.inf, loss.temperature.tau)
        self.optimiser.step()
        if self.log_tau is not None:
            clamp_log_tau(self.log_tau)
        run.step += 1
        if self.validation is None and run.step == self.plan.steps and _finite(state):
            run.kept = Kept(copied(state), run.step, -math.inf, self._tau_after(loss))

    def _tau_after(self, loss: StepLoss) -> float:
        return loss.temperature.tau if self.log_tau is None else self._tau()

    def _not_finite(self, loss: StepLoss, norm: float) -> str:
        """What is not finite, or an empty text."""
        if not math.isfinite(float(loss.total)):
            return f"the loss is {float(loss.total)}"
        if not math.isfinite(norm):
            return f"the gradient's norm is {norm}"
        slope = None if self.log_tau is None else self.log_tau.grad
        if slope is not None and not bool(torch.isfinite(slope)):
            return f"the temperature's gradient is {float(slope)}"
        return ""

    def _tell_switches(self, loss: StepLoss, step: int) -> None:
        if self.plan.temperature == "adaptive" and loss.temperature.case != self.run.case:
            self.run.case = loss.temperature.case
            self.run.events.append(Event(step, f"τ = {loss.temperature.tau:g}: {loss.temperature.reason}"))

    def _tell_what_is_kept(self) -> None:
        run = self.run
        if run.kept.step == 0 and run.fallen:
            what = "none was kept, the first included" if run.lost else "the first weights were kept"
            told = f"{what}: those with a better score had fallen in {', '.join(run.fallen)}"
            run.events.append(Event(run.step, told))

    def _validate(self, samples: Batch, loss: StepLoss) -> float:
        """Keeps the weights where they are the best on the validation samples; stops where they long were not."""
        run, plan = self.run, self.plan
        score, fallen = self._look(samples)
        worse = fallen if plan.guarded else []
        run.waited += 1
        if score > run.kept.score and worse:
            run.fallen += [name for name in worse if name not in run.fallen]
        if score > run.kept.score and not worse:
            run.kept = Kept(copied(self.module.state_dict()), run.step, score, self._tau_after(loss))
            run.waited = 0
        elif plan.patience is not None and run.waited >= plan.patience and run.step < plan.steps:
            run.stopped = "early"
            run.events.append(Event(run.step, f"stopped: {run.waited} validations without a better score"))
        return score

    def _row(self, step: int, loss: StepLoss, now: Pace, norm: float, own: Batch, part: Part) -> LogRow:
        swap = loss.swap
        positive = float(self.ranks.mean(swap.diagonal(part.first).mean()))
        shares = torch.tensor([*swap_ranks(swap, part.first), saturation(self.energy, own)], dtype=torch.float64)
        auroc, top1, saturated = self.ranks.mean(shares).tolist()
        return LogRow(
            step=step,
            loss=float(loss.total),
            info_nce=float(loss.info_nce),
            learning_rate=now.learning_rate,
            tau=loss.temperature.tau,
            energy_positive=positive,
            energy_negative=positive + loss.temperature.gap,
            gap=loss.temperature.gap,
            auroc=auroc,
            top1=top1,
            slope_saturated_fraction=saturated,
            gradient_norm=norm,
            alignment=math.nan if loss.alignment is None else loss.alignment,
            base_tau=loss.temperature.base,
            clip_norm=math.inf if now.clip_norm is None else now.clip_norm,
            validation_score=math.nan,
            seconds=time.perf_counter() - self.started,
        )

    def _save(self) -> None:
        if self.folder is None:
            return
        self.run.seconds = time.perf_counter() - self.started
        optimiser = {**self.optimiser.state_dict(), "log_tau": None if self.log_tau is None else self.log_tau.detach()}
        with self.ranks.agreement():
            if self.ranks.is_first:
                save_state(self.folder, self.run, self.identity, self.module.state_dict(), optimiser)

    def finish(self) -> TrainingOutcome:
        """Gives the module its best weights."""
        run = self.run
        self.module.load_state_dict(run.kept.weights)
        return TrainingOutcome(
            rows=tuple(run.rows),
            events=tuple(run.events),
            best_step=run.kept.step,
            best_score=run.kept.score if math.isfinite(run.kept.score) else math.nan,
            steps_done=run.step,
            stopped=cast("Stopped", run.stopped),
            tau=run.kept.tau,
            fallen=tuple(run.fallen) if run.kept.step == 0 else (),
            reverted=bool(run.lost) and run.kept.step == 0,
        )


def _finite(weights: Mapping[str, Any]) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in weights.values() if isinstance(value, Tensor))
