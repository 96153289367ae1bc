"""The demonstrations that runs are trained and measured on, whole or with one known flaw."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from energydiag import load_batch
from energydiag.batch import Batch

SAMPLES = Path(__file__).resolve().parents[2] / "sample_checkpoints"
OTHERS = Path(__file__).resolve().parent / "demonstrations"

TASKS = {
    "five": (SAMPLES, (1, 3, 4, 6, 7)),
    "three": (SAMPLES, (0, 2, 5)),
    "others": (OTHERS, (0, 1, 2, 3)),
}
"""Sets of tasks that a run may be trained and measured on: where they lie, and which of those there."""

MOST_MEASURED = 256
"""Samples in a dump."""


@dataclass(frozen=True)
class Choice:
    """Which samples a run sees.

    Attributes:
        tasks: A key of `TASKS`.
        pooled: Whether contexts are pooled to one vector.
        layers: Whether the dump names what the policy's layers would have done.
        padded_only: Whether samples without any hidden token are left out.
        training_flaws: Keys of `FLAWS`, for the training samples.
        dump_flaws: Keys of `FLAWS`, for the dump.
    """

    tasks: str = "five"
    pooled: bool = False
    layers: bool = True
    padded_only: bool = False
    training_flaws: tuple[str, ...] = ()
    dump_flaws: tuple[str, ...] = ()


def training_samples(choice: Choice, seed: int) -> Batch:
    """What a run is trained on."""
    return _flawed(_selected("train", choice), choice.training_flaws, seed)


def validation_samples(choice: Choice, seed: int) -> Batch:
    """Samples of held-out episodes with the flaws of the training samples: what a stranger validates on."""
    flaws = tuple(flaw for flaw in choice.training_flaws if flaw != "few-samples")
    return _flawed(_selected("heldout", choice), flaws, seed + 1)


def dump(choice: Choice, seed: int) -> Batch:
    """What a run is measured on: at most `MOST_MEASURED` samples of held-out episodes, spread evenly."""
    samples = _selected("heldout", choice)
    samples = samples.take(samples.spread(MOST_MEASURED))
    found = _flawed(samples, choice.dump_flaws, seed + 2)
    return found if choice.layers else replace(found, layer_actions=None, policy_actions=None)


@functools.lru_cache(maxsize=4)
def _whole(folder: Path, split: str) -> Batch:
    batch = load_batch(folder / f"{split}-batch.safetensors")
    layers = batch.layer_actions
    assert layers is not None
    return replace(
        batch, hidden=batch.hidden.float(), layer_actions=layers.float(), policy_actions=layers[:, -1].float()
    )


def _selected(split: str, choice: Choice) -> Batch:
    folder, wanted = TASKS[choice.tasks]
    batch = _whole(folder, split)
    assert batch.task is not None
    assert batch.pad_mask is not None
    kept = torch.isin(batch.task, torch.tensor(wanted))
    if choice.padded_only:
        kept &= batch.pad_mask.any(dim=1)
    batch = batch.take(torch.nonzero(kept).reshape(-1))
    return _pooled(batch) if choice.pooled else batch


def _pooled(batch: Batch) -> Batch:
    assert batch.pad_mask is not None
    seen = (~batch.pad_mask).float()[..., None]
    return replace(batch, hidden=(batch.hidden * seen).sum(dim=1) / seen.sum(dim=1), pad_mask=None)


def _flawed(batch: Batch, flaws: tuple[str, ...], seed: int) -> Batch:
    for flaw in flaws:
        batch = FLAWS[flaw](batch, torch.Generator().manual_seed(seed))
    return batch


def _of_actions(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """The same change to the expert's and the policy's actions."""
    layers, policy = batch.layer_actions, batch.policy_actions
    return replace(
        batch,
        actions=change(batch.actions),
        layer_actions=None if layers is None else change(layers),
        policy_actions=None if policy is None else change(policy),
    )


def _misaligned(batch: Batch, _generator: torch.Generator) -> Batch:
    """The expert's chunks begin one step late; the policy's do not."""
    return replace(batch, actions=torch.cat((batch.actions[:, 1:], batch.actions[:, -1:]), dim=1))


def _scaled_dimension(batch: Batch, _generator: torch.Generator) -> Batch:
    """One action dimension in a unit that is fifty times smaller."""
    return _of_actions(batch, lambda a: a * torch.tensor([50.0] + [1.0] * (a.shape[-1] - 1)))


def _constant_dimension(batch: Batch, _generator: torch.Generator) -> Batch:
    """One action dimension that never moves."""
    return _of_actions(batch, lambda a: a * torch.tensor([1.0] * (a.shape[-1] - 2) + [0.0, 1.0]))


def _outlier_context(batch: Batch, _generator: torch.Generator) -> Batch:
    """One context dimension a thousand times larger than it was."""
    scale = torch.ones(batch.hidden.shape[-1])
    scale[7] = 1e3
    return replace(batch, hidden=batch.hidden * scale)


def _rows(batch: Batch, share: float, generator: torch.Generator) -> Tensor:
    return torch.randperm(len(batch), generator=generator)[: max(1, round(share * len(batch)))]


def _nan_rows(batch: Batch, generator: torch.Generator) -> Batch:
    """Five samples in a hundred whose context holds NaN."""
    hidden = batch.hidden.clone()
    hidden[_rows(batch, 0.05, generator)] = float("nan")
    return replace(batch, hidden=hidden)


def _all_padded(batch: Batch, generator: torch.Generator) -> Batch:
    """Five samples in a hundred whose context is all hidden."""
    assert batch.pad_mask is not None
    mask = batch.pad_mask.clone()
    mask[_rows(batch, 0.05, generator)] = True
    return replace(batch, pad_mask=mask)


def _duplicates(batch: Batch, generator: torch.Generator) -> Batch:
    """Four samples in ten are copies of others."""
    order = torch.arange(len(batch))
    copies = _rows(batch, 0.4, generator)
    kept = torch.ones(len(batch), dtype=torch.bool)
    kept[copies] = False
    originals = torch.nonzero(kept).reshape(-1)
    order[copies] = originals[torch.randint(len(originals), (len(copies),), generator=generator)]
    return batch.take(order)


def _idle_frames(batch: Batch, _generator: torch.Generator) -> Batch:
    """The robot stands nearly still in the earlier half of every episode, as demonstrations often begin."""
    assert batch.step is not None
    assert batch.episode is not None
    last = torch.zeros(int(batch.episode.max()) + 1, dtype=batch.step.dtype)
    last = last.scatter_reduce(0, batch.episode.long(), batch.step, "amax")
    factor = torch.where(2 * batch.step < last[batch.episode.long()], 0.03, 1.0)
    return _of_actions(batch, lambda a: a * factor.reshape(-1, *[1] * (a.dim() - 1)))


def _garbage_padding(batch: Batch, generator: torch.Generator) -> Batch:
    """Hidden tokens hold what was left in memory."""
    assert batch.pad_mask is not None
    noise = 3 * torch.randn(batch.hidden.shape, generator=generator)
    return replace(batch, hidden=torch.where(batch.pad_mask[..., None], noise, batch.hidden))


def _few_samples(batch: Batch, generator: torch.Generator) -> Batch:
    """Sixty-four samples."""
    return batch.take(torch.randperm(len(batch), generator=generator)[:64])


FLAWS: dict[str, Callable[[Batch, torch.Generator], Batch]] = {
    "misaligned": _misaligned,
    "scaled-dimension": _scaled_dimension,
    "constant-dimension": _constant_dimension,
    "outlier-context": _outlier_context,
    "nan-rows": _nan_rows,
    "all-padded": _all_padded,
    "duplicates": _duplicates,
    "idle-frames": _idle_frames,
    "garbage-padding": _garbage_padding,
    "few-samples": _few_samples,
}
