"""Small real parts that several test files share: a tiny energy head, a random batch, a user-written module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from energydiag.batch import Batch
from energydiag.models.cross_attention import CrossAttentionEnergy

CONTEXT, ACTION, STEPS, TOKENS = 12, 3, 4, 5
"""D, A, H and S of everything here."""


def make_batch(samples: int = 6, seed: int = 0) -> Batch:
    """A random batch with a padding mask, layer actions and two samples an episode."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    # over one visible token alone, attention gives the same whatever the action
    visible = torch.randint(2, TOKENS + 1, (samples,), generator=generator)
    actions = normal(samples, STEPS, ACTION)
    layers = actions[:, None] + 0.3 * normal(samples, 3, STEPS, ACTION)
    return Batch(
        hidden=normal(samples, TOKENS, CONTEXT),
        actions=actions,
        pad_mask=torch.arange(TOKENS) >= visible[:, None],
        layer_actions=layers,
        policy_actions=layers[:, -1],
        episode=torch.arange(samples) // 2,
    )


def make_head(head: str = "rescaled", seed: int = 0) -> CrossAttentionEnergy:
    """The reference architecture, tiny, in eval mode."""
    torch.manual_seed(seed)
    return CrossAttentionEnergy(CONTEXT, ACTION, hidden=16, nhead=2, head=head).eval()


def pooled(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of the visible context tokens, ``[B, D]``; a context that is pooled already is left alone."""
    if hidden.dim() == 2:
        return hidden
    if mask is None:
        return hidden.mean(dim=1)
    seen = (~mask).to(hidden.dtype)[..., None]
    return (hidden * seen).sum(dim=1) / seen.sum(dim=1)


class ConcatMLP(nn.Module):
    """What most people write first: pooled context and flat action, one MLP, ``[B, 1]`` as its answer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Sequential(nn.Linear(CONTEXT + STEPS * ACTION, 16), nn.ReLU(), nn.Linear(16, 1))
        self.eval()

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        answer: Tensor = self.net(torch.cat((pooled(hidden, pad_mask), actions.flatten(1)), dim=-1))
        return answer
