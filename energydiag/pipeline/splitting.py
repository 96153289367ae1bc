"""Which samples a repair trains on, and which it is proved on: no episode on both sides."""

from __future__ import annotations

import torch
from torch import Tensor

from energydiag.batch import Batch
from energydiag.errors import InvalidBatch


def split_by_episode(batch: Batch, fraction: float, seed: int) -> tuple[Batch, Batch]:
    """Larger and smaller part of a batch, no episode on both sides.

    Args:
        batch: Samples; without episodes, each sample counts as one.
        fraction: Share of the episodes in the smaller part, at least one.
        seed: Of the choice.

    Raises:
        InvalidBatch: There are fewer than two episodes.
    """
    larger, smaller = positions_by_episode(batch.groups, fraction, seed)
    return batch.select(larger), batch.select(smaller)


def positions_by_episode(groups: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Positions of the samples in the two parts of `split_by_episode`, from the episode of each ``[n]``."""
    names = torch.unique(groups)
    if len(names) < 2:
        raise InvalidBatch(
            "The dump holds one episode only and cannot be split by episode.", "give --train-batch with other episodes."
        )
    order = names[torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))]
    small = torch.isin(groups, order[: max(1, round(fraction * len(names)))])
    return torch.nonzero(~small).reshape(-1), torch.nonzero(small).reshape(-1)


def check_apart(train_batch: Batch, heldout: Batch) -> None:
    """Raises where an episode is in both batches, or the same sample where no episodes are told.

    Raises:
        InvalidBatch: The proof would be measured on what was trained on.
    """
    if train_batch.episode is not None and heldout.episode is not None:
        shared = sorted(set(train_batch.episode.tolist()) & set(heldout.episode.tolist()))
        if shared:
            raise InvalidBatch(
                f"{len(shared)} episodes are in the training batch and in the held-out batch (the first: {shared[0]}).",
                "split by episode, or give one --batch and let it be split.",
            )
        return
    seen = {row.numpy().tobytes() for row in train_batch.actions.contiguous()}
    if any(row.numpy().tobytes() in seen for row in heldout.actions.contiguous()):
        raise InvalidBatch(
            "The same expert actions are in the training batch and in the held-out batch.", "dump other samples."
        )


def usable(batch: Batch) -> Tensor:
    """Positions ``[n]`` of the samples that energies can be computed for."""
    nonfinite, all_hidden = batch.unusable()
    return torch.nonzero(~(nonfinite | all_hidden)).reshape(-1)
