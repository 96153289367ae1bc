"""Energy functions that are not the reference head, as the tests have them in small: what their users pay."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .policy import DIMENSIONS, STEPS, Size


def _pooled(hidden: Tensor, mask: Tensor) -> Tensor:
    seen = (~mask).to(hidden.dtype)[..., None]
    return (hidden * seen).sum(dim=1) / seen.sum(dim=1)


class PooledMLP(nn.Module):
    """Mean of the context beside the flat action, into one MLP."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        inputs, hidden = size.width + STEPS * DIMENSIONS, size.hidden
        self.net = nn.Sequential(
            nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor) -> Tensor:
        answer: Tensor = self.net(torch.cat((_pooled(hidden, pad_mask), actions.flatten(1)), dim=-1))
        return answer.squeeze(-1)


class TwoTowers(nn.Module):
    """One MLP over context tokens, one over the action, and their product."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        hidden = size.hidden
        self.context = nn.Sequential(nn.Linear(size.width, hidden), nn.SiLU(), nn.Linear(hidden, hidden))
        self.action = nn.Sequential(nn.Linear(STEPS * DIMENSIONS, hidden), nn.SiLU(), nn.Linear(hidden, hidden))

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor) -> Tensor:
        return (_pooled(self.context(hidden), pad_mask) * self.action(actions.flatten(1))).sum(dim=-1)


class EinsumAttention(nn.Module):
    """Attention written by hand with einsum and masked_fill."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        hidden = size.hidden
        self.query = nn.Linear(DIMENSIONS, hidden)
        self.key, self.value = nn.Linear(size.width, hidden), nn.Linear(size.width, hidden)

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor) -> Tensor:
        query = self.query(actions)
        score = torch.einsum("bhd,bsd->bhs", query, self.key(hidden)).masked_fill(pad_mask[:, None], -torch.inf)
        seen = torch.einsum("bhs,bsd->bhd", score.softmax(dim=-1), self.value(hidden))
        return (seen - query).square().mean(dim=(1, 2))


class Decoder(nn.Module):
    """Action steps attend to each other and to the context, in torch's own decoder layer."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        hidden = size.hidden
        self.context, self.action = nn.Linear(size.width, hidden), nn.Linear(DIMENSIONS, hidden)
        self.layer = nn.TransformerDecoderLayer(hidden, size.heads, 2 * hidden, 0.0, batch_first=True)
        self.end = nn.Linear(hidden, 1)

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor) -> Tensor:
        tokens = self.layer(self.action(actions), self.context(hidden), memory_key_padding_mask=pad_mask)
        answer: Tensor = self.end(tokens).mean(dim=(1, 2))
        return answer


OTHERS: tuple[Callable[[Size], nn.Module], ...] = (PooledMLP, TwoTowers, EinsumAttention, Decoder)
