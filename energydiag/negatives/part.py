"""Which of a step's samples one process works on.

Everything that looks at the whole batch (other samples' actions, averages, noise that is drawn for all samples in a
row) goes through here, so that several processes compute what one would.

Shapes: B samples of the step, b of them one's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from energydiag.batch import Batch


def unchanged(value: Tensor) -> Tensor:
    """The average over one process."""
    return value


@dataclass(frozen=True)
class Part:
    """One's own samples among the step's.

    Attributes:
        whole: All B samples of the step; where other processes have a part too, their contexts are not in it.
        first: Position in ``whole`` of the first own sample; the others follow it.
        size: b.
        average: The mean of a tensor over all processes, without gradient. Every process must ask for it alike.
    """

    whole: Batch
    first: int
    size: int
    average: Callable[[Tensor], Tensor] = unchanged

    @classmethod
    def everything(cls, batch: Batch) -> Part:
        """The part of a process that is alone."""
        return cls(batch, 0, len(batch))

    def own(self, value_B: Tensor) -> Tensor:
        """One's own rows, ``[b, …]``, of something that all samples have."""
        return value_B[self.first : self.first + self.size]


def own_pairs(table_bB: Tensor, first: int) -> Tensor:
    """``[b, B]`` bool: where the samples that begin at position ``first`` meet their own actions."""
    rows, columns = table_bB.shape
    own_b = first + torch.arange(rows, device=table_bB.device)
    return own_b[:, None] == torch.arange(columns, device=table_bB.device)
