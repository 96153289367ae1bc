"""What a source of negatives says of itself.

Shapes: N samples, M negatives per sample, H action steps, A action dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from energydiag.batch import Batch
from energydiag.discovery import discover


@dataclass(frozen=True)
class NegativeSource:
    """Actions that are wrong for a context, made from a batch.

    Attributes:
        name: What plans and options call it.
        needs: Fields of the batch without which it makes nothing.
        make: Sets of negatives by name, each ``[N, M, H, A]``, on the batch's device. Contexts may be missing from
            the batch (see `energydiag.negatives.part`); actions are there.
    """

    name: str
    needs: tuple[str, ...]
    make: Callable[[Batch, torch.Generator], dict[str, Tensor]]

    def lacks(self, batch: Batch) -> str | None:
        """Why it can make nothing from this batch, or None."""
        missing = [name for name in self.needs if getattr(batch, name) is None]
        return f"the dump has no `{missing[0]}`" if missing else None


def sources() -> dict[str, NegativeSource]:
    """All sources, by name."""
    return discover("energydiag.negatives", "SOURCE", NegativeSource)
