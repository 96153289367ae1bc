"""Energies in closed form, whose actions are drawn from the energy itself: nothing can rank them better.

``Exact`` stands in its case's ``model.py`` as it stands here.
"""

import math

import torch
from torch import nn
from torch.nn import functional

MODES = 5
WAYS = 3


class Exact(nn.Module):
    """An exact energy of ``kind``: the action asked for, ``mean``, is a fixed function of the context."""

    def __init__(self, kind, width=24, dims=4, horizon=6, sigma=0.12, turn=1.0, level=0.0):
        super().__init__()
        self.kind, self.dims, self.horizon, self.sigma, self.turn, self.level = kind, dims, horizon, sigma, turn, level
        chunk = dims * max(horizon, 1)
        waves = torch.randn(width, chunk, generator=torch.Generator().manual_seed(5)) * 1.4 / math.sqrt(width)
        self.waves, self.phase = nn.Parameter(waves), nn.Parameter(torch.arange(chunk) * 0.7)
        self.turns = nn.Parameter(waves.roll(1, 1) * 0.8)
        if kind == "basis":
            steps = torch.linspace(0, math.pi, max(horizon, 1))
            self.register_buffer("basis", torch.linalg.qr(torch.stack([(k * steps).cos() for k in range(3)], 1))[0])

    def context(self, hidden, pad_mask=None):
        if hidden.dim() == 2:
            return hidden
        if pad_mask is None:
            return hidden.sum(1) / math.sqrt(hidden.shape[1])
        keep = (~pad_mask)[..., None].to(hidden.dtype)
        return (hidden * keep).sum(1) / keep.sum(1).sqrt()

    def mean(self, context):
        mean = (context @ self.waves + self.phase).sin()
        return mean.view(-1, self.horizon, self.dims) if self.horizon else mean

    def ways(self, context, count):
        """Several right actions of a context, ``[B, count, …]``."""
        mean = self.mean(context)
        other = (context @ self.turns).cos().view_as(mean)
        return torch.stack([mean + 1.2 * (k - (count - 1) / 2) * other for k in range(count)], 1)

    def factor(self, context):
        """A lower triangular factor of the precision of every step."""
        below = torch.tril(torch.ones(self.dims, self.dims, dtype=context.dtype), -1)
        angle = (context @ self.turns[:, : self.dims]).cos()
        return torch.eye(self.dims, dtype=context.dtype) + 0.8 * below * angle[:, :, None]

    def energy(self, context, actions):
        apart = actions - self.mean(context)
        every = tuple(range(1, actions.dim()))
        narrow = apart / self.sigma
        if self.kind == "experts":
            groups = [narrow[..., k::3] for k in range(3)]
            return sum((k + 1) * group.pow(2).sum(every) / 2 for k, group in enumerate(groups))
        if self.kind == "modes":
            far = (actions[:, None] - self.ways(context, MODES)).flatten(2).pow(2).sum(2)
            return -torch.logsumexp(-far / (2 * self.sigma**2), 1)
        if self.kind == "precision":
            return torch.einsum("bha,bac->bhc", narrow, self.factor(context)).pow(2).sum(every) / 2
        if self.kind == "von-mises":
            return -(apart.cos() / self.sigma**2).sum(every)
        if self.kind == "huber":
            return functional.huber_loss(narrow, torch.zeros_like(narrow), reduction="none").sum(every)
        if self.kind == "student":
            return 2 * torch.log1p(narrow**2 / 3).sum(every)
        if self.kind == "logcosh":
            return (narrow.abs() + functional.softplus(-2 * narrow.abs()) - math.log(2)).sum(every)
        if self.kind == "nearest":
            return (actions[:, None] - self.ways(context, WAYS)).flatten(2).pow(2).sum(2).min(1).values / self.sigma**2
        if self.kind == "discounted":
            return (0.8 ** torch.arange(self.horizon)[:, None] * narrow**2 / 2).sum(every)
        inside = torch.einsum("hk,bha->bka", self.basis, narrow)
        outside = narrow - torch.einsum("hk,bka->bha", self.basis, inside)
        return inside.pow(2).sum(every) / 2 + 0.3 * outside.pow(2).sum(every) / 2

    def forward(self, hidden, actions, pad_mask=None):
        return self.turn * self.energy(self.context(hidden, pad_mask), actions) + self.level
