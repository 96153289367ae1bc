"""A step of retraining beside a plain loop: InfoNCE over the expanded table, AdamW, and nothing else.

Shapes: B contexts, N candidates per context, M mixed-in actions, H action steps, A action dimensions.
"""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

import energydiag
from energydiag.batch import Batch
from energydiag.dump import BatchWriter
from energydiag.losses import alignment_cosine
from energydiag.negatives.noise import SIGMAS, noisy
from energydiag.plan import Descent, TrainingPlan
from energydiag.training.loop import train

from .arithmetic import expanded_bytes, peak_bytes
from .figure import Row, at_least
from .policy import STEPS, TAU, TINY, Case, Size, devices, expanded, hand_factorised, make_case, place
from .side_by_side import GIB, Way, does_not_fit, fits, take_turns

SIZES = (Size(32, 256, 1024), Size(32, 128, 1024))
GOAL_AT = SIZES[0]

_STEPS = 2
"""Steps of one call of the training loop, whose bookkeeping is shared out among them."""

_CONTEXTS = 4
"""Contexts of the plain way that are run where all together do not fit."""

_FAR_START = 0.3
"""Strength of the noise from which the second descent starts, as in ours."""

_ALIGNMENT = 0.1


def measure(repeats: int, small: bool = False) -> list[Row]:
    rows = []
    for device in devices():
        for size in (TINY,) if small else SIZES:
            rows += _step(size, repeats, hard=False, device=device)
            rows += _step(size, repeats, hard=True, device=device)
    rows.append(_waiting(TINY if small else SIZES[0], repeats))
    if not small:
        rows.append(_compiled(SIZES[1], repeats))
    return rows


# --- the plain loop


def plain_loss(model: nn.Module, hidden: Tensor, actions: Tensor, mask: Tensor) -> None:
    """Forward and backward of InfoNCE over all candidates, the contexts repeated for each; adds to the gradients."""
    own = torch.arange(len(hidden), device=hidden.device).clamp_max(len(actions) - 1)
    cross_entropy(-expanded(model, hidden, actions, mask) / TAU, own, reduction="sum").backward()


def hard_loss(model: nn.Module, hidden: Tensor, actions: Tensor, mask: Tensor) -> None:
    """The same with noisy and adversarial actions mixed in, and the alignment of the slope there."""
    own = torch.arange(len(hidden), device=hidden.device).clamp_max(len(actions) - 1)
    experts = actions[own]
    generator = torch.Generator().manual_seed(0)
    noise = torch.cat([noisy(experts, sigma, 1, generator) for sigma in SIGMAS], dim=1)
    starts = torch.cat((experts[:, None], noisy(experts, _FAR_START, 1, generator)), dim=1)
    adversarial = _descend(model, hidden, starts, mask)
    mixed = torch.cat((noise, adversarial), dim=1).requires_grad_(True)
    energy_bM = _own_candidates(model, hidden, mixed, mask)
    energy_bN = torch.cat((expanded(model, hidden, actions, mask), energy_bM), dim=1)
    slope = torch.autograd.grad(energy_bM.sum(), mixed, create_graph=True)[0]
    cosine = alignment_cosine(slope, experts[:, None] - mixed.detach())
    aligned = _ALIGNMENT * (1 - cosine).mean(dim=1).sum()
    (cross_entropy(-energy_bN / TAU, own, reduction="sum") + aligned).backward()


def _own_candidates(model: nn.Module, hidden: Tensor, actions_bMHA: Tensor, mask: Tensor) -> Tensor:
    count = actions_bMHA.shape[1]
    energy: Tensor = model(
        hidden.repeat_interleave(count, 0), actions_bMHA.flatten(0, 1), mask.repeat_interleave(count, 0)
    )
    return energy.reshape(len(hidden), count)


def _descend(model: nn.Module, hidden: Tensor, actions_bMHA: Tensor, mask: Tensor) -> Tensor:
    plan = Descent()
    for _ in range(plan.steps):
        leaf = actions_bMHA.detach().requires_grad_(True)
        slope = torch.autograd.grad(_own_candidates(model, hidden, leaf, mask).sum(), leaf)[0]
        norm = slope.flatten(2).norm(dim=2).clamp_min(1e-12)[..., None, None]
        actions_bMHA = leaf.detach() - plan.length * slope / norm + plan.noise * torch.randn_like(leaf)
    return actions_bMHA


@dataclass(frozen=True)
class PlainStep:
    """A plain training step, ready to be timed.

    Attributes:
        run: Does it, or a part of it.
        times: How many such parts a step has.
        needed: Bytes that all of it takes at once.
        note: What a reader must know.
    """

    run: Way
    times: float
    needed: float
    note: str


def plain_step(case: Case, hard: bool = False) -> PlainStep:
    """One step of the plain loop with the head in training mode.

    Where B² rows do not fit, or ``hard`` makes them take minutes, some contexts go through one by one and the rest is
    taken to cost the same: the least that a plain loop could do. The optimiser's step is left out there, to its
    advantage.
    """
    model = copy.deepcopy(case.model).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loss = hard_loss if hard else plain_loss
    with sdpa_kernel(SDPBackend.MATH):
        needed = expanded_bytes(Case(case.size, model, case.hidden, case.actions, case.mask), loss)

    def whole() -> None:
        optimiser.zero_grad()
        with sdpa_kernel(SDPBackend.MATH):
            loss(model, case.hidden, case.actions, case.mask)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()

    count = min(_CONTEXTS, len(case.hidden))

    def piecemeal() -> None:
        model.zero_grad()
        with sdpa_kernel(SDPBackend.MATH):
            for row in range(count):
                loss(model, case.hidden[row : row + 1], case.actions, case.mask[row : row + 1])

    if fits(needed, case.device) and not hard:
        return PlainStep(whole, 1.0, needed, "")
    note = f"{count} of {len(case.hidden)} contexts run one by one"
    if not fits(needed, case.device):
        note = f"{does_not_fit(needed)} at once; {note}"
    return PlainStep(piecemeal, len(case.hidden) / count, needed, note)


# --- ours


def plan_of(size: Size, hard: bool = False, steps: int = _STEPS) -> TrainingPlan:
    plain: dict[str, Any] = {"steps": steps, "batch_size": size.contexts, "log_every": 10, "tau": TAU}
    if hard:
        plain |= {"sources": ("noise",), "descent": Descent(), "alignment": _ALIGNMENT}
    return TrainingPlan(**plain)


def our_step(case: Case, hard: bool = False) -> Way:
    """A call of the training loop, all its bookkeeping included; its time is that of `_STEPS` steps."""
    energy = copy.deepcopy(case.energy)
    batch = case.batch()

    def run() -> None:
        train(energy, batch, plan_of(case.size, hard))

    return run


def our_share() -> float:
    """Of `our_step`'s time, what one step takes."""
    return 1 / _STEPS


def _step(size: Size, repeats: int, hard: bool, device: str = "cpu") -> list[Row]:
    case = make_case(size, device=device)
    plain, mine = plain_step(case, hard), our_step(case, hard)
    turns = take_turns({"ours": mine, "plain": plain.run}, repeats, {"ours": our_share(), "plain": plain.times})
    taken = peak_bytes(mine)
    more = " with noise, adversarial negatives and alignment" if hard else ""
    what = f"{place(device)}retraining step{more}"
    return [
        Row(
            f"{what}, plain loop with B² rows / ours",
            str(size),
            turns.median("ours"),
            turns.median("plain"),
            turns.ratio("plain", "ours"),
            "s",
            at_least(4) if size == GOAL_AT and device == "cpu" else None,
            plain.note,
        ),
        Row(
            f"{what}, peak of tensors, plain / ours",
            str(size),
            taken / GIB,
            plain.needed / GIB,
            plain.needed / taken,
            "GiB",
            None,
            "plain: drawn on from few rows",
        ),
    ]


# --- reading a dump while training


@contextmanager
def _timed_reading() -> Iterator[list[float]]:
    """Seconds of every `Batch.take` in the block."""
    seconds: list[float] = []
    take = Batch.take

    def timed(batch: Batch, index: Tensor) -> Batch:
        start = time.perf_counter()
        try:
            return take(batch, index)
        finally:
            seconds.append(time.perf_counter() - start)

    with patch.object(Batch, "take", timed):
        yield seconds


def _waiting(size: Size, repeats: int) -> Row:
    """Of the time of training on a dump of four batches, the share that goes by until a step has its samples."""
    case = make_case(size)
    waits, wholes, shares = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        dump = Path(folder, "dump")
        write_dump(case, dump, copies=4)
        batch = energydiag.load_batch(dump)
        for turn in range(repeats + 1):
            energy = copy.deepcopy(case.energy)
            with _timed_reading() as seconds:
                start = time.perf_counter()
                train(energy, batch, plan_of(size, steps=2 * _STEPS))
                whole = time.perf_counter() - start
            if turn:
                waits.append(sum(seconds) / (2 * _STEPS))
                wholes.append(whole / (2 * _STEPS))
                shares.append(sum(seconds) / whole)
    middle = len(shares) // 2
    return Row(
        "waiting for data / step of training on a dump",
        str(size),
        sorted(waits)[middle],
        sorted(wholes)[middle],
        sorted(shares)[middle],
        "s",
        note="files that were just written: from memory, not from a disk",
    )


def write_dump(case: Case, folder: Path, copies: int = 1) -> None:
    """The case's samples as a folder of shards."""
    with BatchWriter(folder, max(1, len(case.hidden) // 2)) as writer:
        for number in range(copies):
            episodes = torch.arange(len(case.hidden)) + number * len(case.hidden)
            writer.add(hidden=case.hidden, actions=case.actions, pad_mask=case.mask, episode=episodes)


# --- torch.compile


def _compiled(size: Size, repeats: int) -> Row:
    """Whether compiling pays on top of doing each context's work once, shown on the hand-written computation."""
    case = make_case(size)
    own = torch.arange(size.contexts)

    def loss() -> Tensor:
        return cross_entropy(-hand_factorised(case) / TAU, own)

    name, unit = "step written by hand, plain / compiled with torch.compile", "s"
    faster = torch.compile(loss)

    def step(of: Any) -> None:
        case.model.zero_grad()
        of().backward()

    try:
        step(faster)
    except Exception as error:  # no compiler on this machine, or one that torch cannot use
        told = f"not compiled here: {type(error).__name__}"
        return Row(name, str(size), float("nan"), float("nan"), float("nan"), unit, note=told)
    turns = take_turns({"compiled": lambda: step(faster), "plain": lambda: step(loss)}, repeats)
    return Row(
        name,
        str(size),
        turns.median("compiled"),
        turns.median("plain"),
        turns.ratio("plain", "compiled"),
        unit,
        note=f"forward and backward; {STEPS} action steps; the first call, which compiles, is left out",
    )
