"""Everything that a run needs to go on after a kill, in one file that is there whole or not at all.

Randomness has no memory (see `energydiag.training.randomness`), so weights, optimiser, step and best-so-far are enough.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from energydiag.batch import Batch, blocks
from energydiag.errors import UnreadableFile, UsageError, first_line
from energydiag.files.write_torch import write_torch
from energydiag.plan import TrainingPlan
from energydiag.training.log import LogRow, write_metrics

STATE_FILE = "state.pt"
METRICS_FILE = "metrics.csv"
_FORMAT = 3

Weights = dict[str, Tensor]


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
        UnreadableFile: state.pt is there but is no such state.
    """
    path = folder / STATE_FILE
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["format"] != _FORMAT:
            raise ValueError(f"it has format {content['format']}, this version writes {_FORMAT}")
        theirs, kept = content["identity"], Kept(**content["kept"])
        run = RunState(
            kept=kept,
            step=content["step"],
            waited=content["waited"],
            start=content["start"],
            lost=content["lost"],
            fallen=content["fallen"],
            case=content["case"],
            rows=[LogRow.of_values(values) for values in content["rows"]],
            events=[Event(step, text) for step, text in content["events"]],
            stopped=content["stopped"],
            seconds=content["seconds"],
        )
        weights, optimiser = content["weights"], content["optimiser"]
    except Exception as error:
        raise UnreadableFile(
            f"{path} cannot be read as the state of a training run: {first_line(error)}",
            "start anew in another folder.",
        ) from error
    differing = [_difference(name, theirs.get(name), mine) for name, mine in who.items() if theirs.get(name) != mine]
    if differing:
        raise UsageError(
            f"{path} is the state of another run: {'; '.join(differing)}.",
            "resume with the same plan, data and checkpoint, or start anew in another folder.",
        )
    return run, weights, optimiser


def _difference(name: str, theirs: str | None, mine: str) -> str:
    if not name.startswith(("the plan's", "the number")):
        return f"{name} differ"
    return f"{name} is {theirs} there and {mine} here"
