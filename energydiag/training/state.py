"""Everything that a run needs to go on after a kill, in one file that is there whole or not at all.

Randomness has no memory (see `energydiag.training.randomness`), so weights, optimiser, step and best-so-far are enough.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from energydiag.batch import Batch, blocks
from energydiag.errors import UnreadableFile, UsageError, first_line
from energydiag.files.names import shown
from energydiag.files.tensor_file import read_tensor_file
from energydiag.files.write_torch import write_torch
from energydiag.plan import TrainingPlan
from energydiag.training.log import COLUMNS, LogRow, write_metrics

STATE_FILE = "state.pt"
METRICS_FILE = "metrics.csv"
_FORMAT = 3

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW keeps of every parameter."""

_REPEATED = 4
"""How often a file's bytes may be used (heuristic)."""

_MOST_STEPS = 1 << 53
_ENDS = ("", "finished", "early", "non-finite")

Weights = dict[str, Tensor]
_Kind = TypeVar("_Kind")


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that happened in a run and is worth telling: before which update, and what."""

    step: int
    text: str


@dataclasses.dataclass(frozen=True)
class Kept:
    """The weights that the run would be left with if it ended now.

    Attributes:
        weights: The module's state dict, copied.
        step: How many updates they had.
        score: Their validation score, or minus infinity.
        tau: Temperature they were trained with.
    """

    weights: Weights
    step: int
    score: float
    tau: float


@dataclasses.dataclass
class RunState:
    """How far a run has come.

    Attributes:
        kept: The best weights, or the last good ones.
        step: Updates done.
        waited: Validations since the best.
        start: What the validation saw of every sample in the origin, by the part of the score.
        lost: Which of them were lower in the weights that the run began with.
        fallen: Which of them were lower in weights that had the better score and were not kept for it.
        case: What the temperature's rule said last.
        rows: The log.
        events: What happened.
        stopped: Why it ended, or empty while it has not.
        seconds: Wall clock.
    """

    kept: Kept
    step: int = 0
    waited: int = 0
    start: Weights = dataclasses.field(default_factory=dict)
    lost: list[str] = dataclasses.field(default_factory=list)
    fallen: list[str] = dataclasses.field(default_factory=list)
    case: str = "kept"
    rows: list[LogRow] = dataclasses.field(default_factory=list)
    events: list[Event] = dataclasses.field(default_factory=list)
    stopped: str = ""
    seconds: float = 0.0


def digest(tensors: Mapping[str, Tensor | None]) -> str:
    """SHA-256 over names, types, shapes and bytes."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        if isinstance(value, Tensor):
            found.update(f"{name} {value.dtype} {list(value.shape)} ".encode())
            for part in blocks(value):
                found.update(part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def copied(weights: Mapping[str, Any]) -> Weights:
    """A state dict that further training does not touch."""
    return {name: value.detach().clone() for name, value in weights.items() if isinstance(value, Tensor)}


def identity(
    plan: TrainingPlan, origin: Weights, start: Weights, batch: Batch, validation: Batch | None, processes: int = 1
) -> dict[str, str]:
    """What decides a run's result, each as text: every field of the plan, data and weights as hashes."""

    def of_batch(samples: Batch) -> str:
        return digest({field.name: getattr(samples, field.name) for field in dataclasses.fields(samples)})

    fields = {f"the plan's {f.name}": repr(getattr(plan, f.name)) for f in dataclasses.fields(plan)}
    return fields | {
        "the training samples": of_batch(batch),
        "the validation samples": "none" if validation is None else of_batch(validation),
        "the weights before the repair": digest(origin),
        "the starting weights": digest(start),
        "the number of processes": str(processes),
    }


def save_state(
    folder: Path, run: RunState, who: Mapping[str, str], weights: Weights, optimiser: Mapping[str, Any]
) -> None:
    """Writes state.pt and metrics.csv.

    Args:
        folder: Where.
        run: How far it has come.
        who: See `identity`.
        weights: The module's state dict.
        optimiser: The optimiser's, with the learnable temperature's parameter under ``"log_tau"``.

    Raises:
        UsageError: A file cannot be written; the old ones are then still there.
    """
    content = {
        "format": _FORMAT,
        "identity": dict(who),
        "weights": weights,
        "optimiser": dict(optimiser),
        "kept": {field.name: getattr(run.kept, field.name) for field in dataclasses.fields(Kept)},
        "step": run.step,
        "waited": run.waited,
        "start": run.start,
        "lost": run.lost,
        "fallen": run.fallen,
        "case": run.case,
        "rows": [row.values() for row in run.rows],
        "events": [[event.step, event.text] for event in run.events],
        "stopped": run.stopped,
        "seconds": run.seconds,
    }
    write_torch(folder / STATE_FILE, content)
    write_metrics(folder / METRICS_FILE, run.rows)


def sweep(folder: Path) -> None:
    """Removes what a kill in the middle of writing has left: the hidden files that were to become the run's own."""
    for name in (STATE_FILE, METRICS_FILE):
        for path in folder.glob(f".{name}.*"):
            path.unlink(missing_ok=True)


def load_state(folder: Path, who: Mapping[str, str]) -> tuple[RunState, Weights, dict[str, Any]] | None:
    """The run in a folder with its weights and its optimiser's state, or None where none was saved yet.

    Raises:
        UsageError: It is the run of another plan, of other data or of other starting weights.
        UnreadableFile: state.pt is there but is no such state, or means harm.
    """
    path = folder / STATE_FILE
    if not os.path.lexists(path):
        return None
    # as any stranger's pickle: what its opcodes would make is looked at before torch makes it
    try:
        content = read_tensor_file(path, "state of a training run").contents
        read = _Reading(path.stat().st_size)
        if content.get("format") != _FORMAT:
            raise _Wrong(f"it has format {shown(content.get('format'))}, this version writes {_FORMAT}")
        theirs = read.texts(content.get("identity"))
        run = read.run(content)
        weights, optimiser = read.tensors(content.get("weights")), read.optimiser(content.get("optimiser"))
    except UnreadableFile as error:
        raise _unreadable(path, error.message.rstrip(".")) from error
    except (_Wrong, OSError) as error:
        raise _unreadable(path, first_line(error)) from error
    differing = [_difference(name, theirs.get(name), mine) for name, mine in who.items() if theirs.get(name) != mine]
    if differing:
        raise UsageError(
            f"{path} is the state of another run: {'; '.join(differing)}.",
            "resume with the same plan, data and checkpoint, or start anew in another folder.",
        )
    return run, weights, optimiser


def fill(
    folder: Path,
    found: tuple[RunState, Weights, Mapping[str, Any]],
    module: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    log_tau: Tensor | None,
) -> None:
    """Gives a module, its optimiser and a learnable temperature what `load_state` found.

    Args:
        folder: Where it was found, for messages.
        found: What `load_state` gave back.
        module: Gets the weights.
        optimiser: Gets its state; its own settings stay, since the plan decides them.
        log_tau: The temperature's parameter, or None where none is learned.

    Raises:
        UnreadableFile: Something has other names or shapes than they have; nothing was filled then.
    """
    run, weights, saved = found
    own, groups = module.state_dict(), optimiser.state_dict()["param_groups"]
    parameters = [one for group in optimiser.param_groups for one in group["params"]]
    try:
        for given in (weights, run.kept.weights):
            _must_be_shaped(given, own)
        if log_tau is not None:
            _must_be_shaped({"log_tau": saved["log_tau"]}, {"log_tau": log_tau})
        for number, values in saved["state"].items():
            if number >= len(parameters):
                raise _Wrong(f"its optimiser has a parameter {number} of {len(parameters)}")
            shapes = {name: torch.empty(()) if name == "step" else parameters[number] for name in _MOMENTS}
            _must_be_shaped(values, shapes)
    except _Wrong as error:
        raise _unreadable(folder / STATE_FILE, first_line(error)) from error
    if log_tau is not None:
        log_tau.data.copy_(saved["log_tau"])
    module.load_state_dict(weights)
    optimiser.load_state_dict({"state": dict(saved["state"]), "param_groups": groups})


class _Wrong(Exception):
    """Something in a state that `save_state` does not write."""


def _unreadable(path: Path, why: str) -> UnreadableFile:
    return UnreadableFile(
        f"{path} cannot be read as the state of a training run: {why}.", "start anew in another folder."
    )


def _must_be_shaped(given: Mapping[str, Any], like: Mapping[str, Tensor]) -> None:
    if set(given) != set(like):
        raise _Wrong(f"{shown(sorted(set(given) ^ set(like))[0])} is on one side alone")
    for name, value in given.items():
        if not isinstance(value, Tensor) or value.shape != like[name].shape:
            raise _Wrong(f"{shown(name)} is not {list(like[name].shape)}")


class _Reading:
    """Takes a state apart, every value of the kind that `save_state` writes.

    Args:
        size: Bytes of the file, of which tensors have at most four times as many: a module may use one storage twice,
            and a tensor that repeats its values (`Tensor.expand`) has any number.
    """

    def __init__(self, size: int) -> None:
        self._left = _REPEATED * size

    def run(self, content: Mapping[str, Any]) -> RunState:
        kept = self._is(content.get("kept"), dict)
        return RunState(
            kept=Kept(
                self.tensors(kept.get("weights")),
                self._count(kept.get("step")),
                self._is(kept.get("score"), float),
                self._is(kept.get("tau"), float),
            ),
            step=self._count(content.get("step")),
            waited=self._count(content.get("waited")),
            start=self.tensors(content.get("start")),
            lost=[self._is(name, str) for name in self._is(content.get("lost"), list)],
            fallen=[self._is(name, str) for name in self._is(content.get("fallen"), list)],
            case=self._is(content.get("case"), str),
            rows=[self._row(values) for values in self._is(content.get("rows"), list)],
            events=[self._event(event) for event in self._is(content.get("events"), list)],
            stopped=self._stopped(content.get("stopped")),
            seconds=self._seconds(content.get("seconds")),
        )

    def texts(self, value: Any) -> dict[str, str]:
        return {name: self._is(text, str) for name, text in self._is(value, dict).items()}

    def tensors(self, value: Any) -> Weights:
        """Copies: what is mapped would change with its file."""
        return {name: self._tensor(tensor) for name, tensor in self._is(value, dict).items()}

    def optimiser(self, value: Any) -> dict[str, Any]:
        found = self._is(value, dict)
        state = {
            self._number(name): self.tensors(values) for name, values in self._is(found.get("state"), dict).items()
        }
        log_tau = found.get("log_tau")
        return {**found, "state": state, "log_tau": None if log_tau is None else self._tensor(log_tau)}

    def _tensor(self, value: Any) -> Tensor:
        tensor = self._is(value, Tensor)
        if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
            raise _Wrong("it holds a tensor that is not plain and dense")
        self._left -= tensor.numel() * tensor.element_size()
        if self._left < 0:
            raise _Wrong("its tensors are larger than the file")
        return tensor.clone()

    def _row(self, values: Any) -> LogRow:
        row = [self._is(value, float) for value in self._is(values, list)]
        if len(row) != len(COLUMNS) or not 0 <= row[0] < _MOST_STEPS:
            raise _Wrong("a row of its log is none")
        return LogRow.of_values(row)

    def _event(self, value: Any) -> Event:
        event = self._is(value, list)
        if len(event) != 2:
            raise _Wrong("an event of it is none")
        return Event(self._count(event[0]), self._is(event[1], str))

    def _stopped(self, value: Any) -> str:
        stopped = self._is(value, str)
        if stopped not in _ENDS:
            raise _Wrong(f"{shown(stopped)} is no way to end")
        return stopped

    def _seconds(self, value: Any) -> float:
        seconds = self._is(value, float)
        if not (math.isfinite(seconds) and seconds >= 0):
            raise _Wrong(f"{shown(seconds)} is no number of seconds")
        return seconds

    def _number(self, name: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", name):
            raise _Wrong(f"{shown(name)} is no number of a parameter")
        return int(name)

    def _count(self, value: Any) -> int:
        count = self._is(value, int)
        if not 0 <= count < _MOST_STEPS:
            raise _Wrong(f"{shown(count)} is no number of steps")
        return count

    def _is(self, value: Any, kind: type[_Kind]) -> _Kind:
        if not isinstance(value, kind) or isinstance(value, bool):
            raise _Wrong(f"{shown(value)} stands where a {kind.__name__} should")
        return value


def _difference(name: str, theirs: str | None, mine: str) -> str:
    if not name.startswith(("the plan's", "the number")):
        return f"{name} differ"
    return f"{name} is {theirs} there and {mine} here"
