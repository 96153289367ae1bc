"""What one batch dump holds, as every stage sees it.

Shapes: N samples, S context tokens, D context width, H action steps, A action dimensions, L policy layers,
M supplied negatives.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Samples that a policy was run on, with the expert's actions.

    Attributes:
        hidden: Contexts, ``[N, S, D]``, or ``[N, D]`` where they are pooled; any floating type.
        actions: Expert actions, ``[N, H, A]``, or ``[N, A]`` without steps.
        pad_mask: ``[N, S]``, True where a context token is hidden; None: nothing is hidden.
        layer_actions: What each layer of the policy would have done, ``[N, L, H, A]``.
        policy_actions: What the policy does, ``[N, H, A]``.
        negatives: Negatives that the training used, ``[N, M, H, A]``.
        episode: Which episode a sample belongs to, ``[N]``.
        task: Which task, ``[N]``.
        step: Time step in the episode, ``[N]``.
    """

    hidden: Tensor
    actions: Tensor
    pad_mask: Tensor | None = None
    layer_actions: Tensor | None = None
    policy_actions: Tensor | None = None
    negatives: Tensor | None = None
    episode: Tensor | None = None
    task: Tensor | None = None
    step: Tensor | None = None

    def __len__(self) -> int:
        return self.hidden.shape[0]

    def take(self, index: Tensor) -> Batch:
        """The samples at these positions, ``[n]`` int, in this order."""
        picked = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: value[index] for name, value in picked.items() if value is not None})

    @property
    def groups(self) -> Tensor:
        """Which samples belong together when resampling, ``[N]`` int: the episode, else each sample alone."""
        return torch.arange(len(self)) if self.episode is None else self.episode

    def spread(self, limit: int) -> Tensor:
        """At most ``limit`` positions, ``[n]`` int, spread evenly over the samples in order of their episodes."""
        order = torch.argsort(self.groups, stable=True)
        if limit >= len(order):
            return torch.arange(len(self))
        return order[torch.linspace(0, len(order) - 1, max(limit, 1)).round().long()].sort().values

    def unusable(self) -> tuple[Tensor, Tensor]:
        """``(non-finite [N], all hidden [N])``, bool: samples that no energy can be computed for."""
        broken = torch.zeros(len(self), dtype=torch.bool)
        for value in (self.hidden, self.actions, self.layer_actions, self.policy_actions, self.negatives):
            if value is not None:
                broken |= ~torch.isfinite(value).flatten(1).all(dim=1)
        hidden = torch.zeros_like(broken) if self.pad_mask is None else self.pad_mask.all(dim=1)
        return broken, hidden
