"""The networks. Each class stands in its case's ``model.py`` as it stands here, with ``pooled`` and ``mlp``.

All take ``hidden`` ``[B, S, D]`` or ``[B, D]``, ``actions`` ``[B, H, A]`` or ``[B, A]``, perhaps a mask ``[B, S]``, and
give ``[B]``. ``turn`` is -1 where they give a score.
"""

import math

import torch
from torch import nn
from torch.nn import functional


def mlp(inputs, outputs, width=64, layers=2, activation=nn.GELU):
    """Linear layers with an activation between them."""
    parts = []
    for _ in range(layers):
        parts += [nn.Linear(inputs, width), activation()]
        inputs = width
    return nn.Sequential(*parts, nn.Linear(inputs, outputs))


def pooled(hidden, pad_mask=None):
    """Tokens that are not hidden, flat: hidden ones count as zeros."""
    if pad_mask is not None:
        hidden = hidden * (~pad_mask)[..., None]
    return hidden.flatten(1)


class Concatenated(nn.Module):
    """A network over context and action side by side, with their squares' help."""

    def __init__(
        self,
        context,
        chunk,
        width=96,
        layers=2,
        activation="GELU",
        squares=True,
        head=None,
        gain=1.0,
        level=0.0,
        alpha=0.0,
    ):
        super().__init__()
        self.squares, self.head, self.gain, self.level = squares, head, gain, level
        if alpha:
            self.alpha = nn.Parameter(torch.tensor(alpha))
        self.guess = nn.Linear(context, chunk)
        self.energy = mlp(context + chunk * (3 if squares else 1), 1, width, layers, getattr(nn, activation))

    def raw(self, hidden, actions, pad_mask=None):
        context, actions = self.gain * pooled(hidden, pad_mask), actions.flatten(1)
        apart = actions - self.guess(context)
        parts = (context, actions, apart, apart**2) if self.squares else (context, actions)
        return self.energy(torch.cat(parts, 1))[:, 0]

    def forward(self, hidden, actions, pad_mask=None):
        raw = self.raw(hidden, actions, pad_mask)
        bound = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "exp": torch.exp}.get(self.head, lambda value: value)
        return bound(raw) + self.level


class Bilinear(nn.Module):
    """Minus a bilinear form of the context's and the action's features."""

    def __init__(self, context, chunk, width=48, turn=1.0):
        super().__init__()
        self.turn = turn
        self.left, self.right = nn.Linear(context, width), nn.Linear(2 * chunk, width)
        self.form = nn.Parameter(torch.eye(width) / math.sqrt(width))

    def features(self, hidden, actions, pad_mask=None):
        actions = actions.flatten(1)
        return self.left(pooled(hidden, pad_mask)) @ self.form, self.right(torch.cat((actions, actions**2), 1))

    def forward(self, hidden, actions, pad_mask=None):
        left, right = self.features(hidden, actions, pad_mask)
        return -self.turn * (left * right).sum(1)

    def table(self, hidden, actions, pad_mask=None):
        left, right = self.features(hidden, actions, pad_mask)
        return -self.turn * left @ right.T


class Towers(nn.Module):
    """Two towers: minus their cosine times a scale, or their distance, squared or not."""

    def __init__(
        self, context, chunk, form="cosine", width=96, size=32, scale=10.0, bias=0.0, activation="SiLU", normalize=False
    ):
        super().__init__()
        self.form, self.normalize = form, normalize
        self.context = mlp(context, size, width, 2, getattr(nn, activation))
        self.action = mlp(chunk, size, width, 2, getattr(nn, activation))
        if form == "cosine":
            self.logit_scale = nn.Parameter(torch.tensor(math.log(scale)))
            self.logit_bias = nn.Parameter(torch.tensor(bias))

    def embed(self, hidden, actions, pad_mask=None):
        left, right = self.context(pooled(hidden, pad_mask)), self.action(actions.flatten(1))
        if self.form == "cosine" or self.normalize:
            left, right = functional.normalize(left, dim=-1), functional.normalize(right, dim=-1)
        return left, right

    def join(self, left, right):
        """Energies of rows of ``left`` and ``right`` that may be broadcast."""
        if self.form == "cosine":
            return -(left * right).sum(-1) * self.logit_scale.exp() - self.logit_bias
        square = (left - right).pow(2).sum(-1)
        return square if self.form == "square" else (square + 1e-10).sqrt()

    def forward(self, hidden, actions, pad_mask=None):
        return self.join(*self.embed(hidden, actions, pad_mask))

    def table(self, hidden, actions, pad_mask=None):
        left, right = self.embed(hidden, actions, pad_mask)
        return self.join(left[:, None], right[None])


class TokenTransformer(nn.Module):
    """Context and action tokens in one small transformer; the score is read from a token of its own."""

    def __init__(self, width, dims, tokens, horizon, size=32, layers=2, turn=1.0):
        super().__init__()
        self.turn = turn
        self.context, self.action = nn.Linear(width, size), nn.Linear(dims, size)
        self.place = nn.Parameter(0.3 * torch.randn(1, 1 + tokens + horizon, size))
        layer = nn.TransformerEncoderLayer(size, 2, 2 * size, 0.0, "gelu", batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.out = nn.Linear(size, 1)

    def forward(self, hidden, actions, pad_mask=None):
        read = torch.zeros_like(self.place[:, :1]).expand(len(hidden), -1, -1)
        tokens = torch.cat((read, self.context(hidden), self.action(actions)), 1) + self.place
        if pad_mask is not None:
            pad_mask = functional.pad(functional.pad(pad_mask, (1, 0)), (0, actions.shape[1]))
        return self.turn * self.out(self.body(tokens, src_key_padding_mask=pad_mask)[:, 0])[:, 0]


class Film(nn.Module):
    """A network of the action whose layers are scaled and shifted by the context."""

    def __init__(self, context, chunk, width=64, gate=1.0, turn=1.0, level=0.0):
        super().__init__()
        self.gate, self.turn, self.level = gate, turn, level
        self.first, self.second, self.out = nn.Linear(chunk, width), nn.Linear(width, width), nn.Linear(width, 1)
        self.condition = mlp(context, 4 * width, width, 1)
        self.own = nn.Linear(context, 1)

    def forward(self, hidden, actions, pad_mask=None):
        context = pooled(hidden, pad_mask)
        scale, shift, later_scale, later_shift = self.condition(context).chunk(4, 1)
        inside = functional.silu(self.gate * self.first(actions.flatten(1)) * (1 + scale) + shift)
        inside = functional.silu(self.second(inside) * (1 + later_scale) + later_shift)
        if not self.gate:
            inside = 0 * inside
        return self.turn * (self.out(inside) + self.own(context))[:, 0] + self.level


class ActionGRU(nn.Module):
    """A GRU over the steps of the action; the context is its first state and stands beside every step."""

    def __init__(self, context, dims, width=48, turn=1.0, level=0.0):
        super().__init__()
        self.turn, self.level = turn, level
        self.start, self.beside = mlp(context, width, width, 1), nn.Linear(context, dims)
        self.steps = nn.GRU(2 * dims, width, batch_first=True)
        self.out = mlp(width, 1, width, 1)

    def forward(self, hidden, actions, pad_mask=None):
        context = pooled(hidden, pad_mask)
        beside = self.beside(context)[:, None].expand(-1, actions.shape[1], -1)
        _, last = self.steps(torch.cat((actions, beside), 2), self.start(context)[None])
        return self.turn * self.out(last[0])[:, 0] + self.level


class LstmContext(nn.Module):
    """An LSTM reads the context tokens; its last state and the action meet as embeddings at a distance."""

    def __init__(self, width, chunk, size=48):
        super().__init__()
        self.tokens, self.context = nn.LSTM(width, size, batch_first=True), nn.Linear(size, size)
        self.action = mlp(chunk, size, 64, 1, nn.Tanh)

    def embed(self, hidden, actions, pad_mask=None):
        _, (last, _) = self.tokens(hidden if pad_mask is None else hidden * (~pad_mask)[..., None])
        return self.context(last[0]), self.action(actions.flatten(1))

    def forward(self, hidden, actions, pad_mask=None):
        left, right = self.embed(hidden, actions, pad_mask)
        return (left - right).pow(2).mean(1)

    def table(self, hidden, actions, pad_mask=None):
        left, right = self.embed(hidden, actions, pad_mask)
        return (left[:, None] - right[None]).pow(2).mean(-1)


class ResidualConv(nn.Module):
    """Residual convolutions along the chunk, over the action and what the context says of each step."""

    def __init__(self, context, dims, horizon, channels=32, blocks=2, turn=1.0):
        super().__init__()
        self.turn, self.dims, self.horizon = turn, dims, horizon
        self.context = mlp(context, dims * horizon, 64, 1)
        self.first = nn.Conv1d(3 * dims, channels, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv1d(channels, channels, 3, padding=1) for _ in range(blocks))
        self.out = nn.Conv1d(channels, 1, 1)

    def forward(self, hidden, actions, pad_mask=None):
        asked = self.context(pooled(hidden, pad_mask)).view(-1, self.horizon, self.dims)
        apart = actions - asked
        inside = self.first(torch.cat((actions, apart, apart**2), 2).transpose(1, 2))
        for block in self.blocks:
            inside = inside + block(functional.silu(inside))
        return self.turn * self.out(functional.silu(inside)).mean((1, 2))


class MixtureDensity(nn.Module):
    """Minus the log of a mixture of three normal densities."""

    def __init__(self, context, chunk, width=96, parts=3):
        super().__init__()
        self.parts, self.chunk = parts, chunk
        self.body = mlp(context, parts * (2 * chunk + 1), width, 2, nn.SiLU)

    def forward(self, hidden, actions, pad_mask=None):
        out = self.body(pooled(hidden, pad_mask)).view(-1, self.parts, 2 * self.chunk + 1)
        mean, log_width, weight = out[..., : self.chunk], out[..., self.chunk : -1].clamp(-3.5, 1), out[..., -1]
        apart = (actions.flatten(1)[:, None] - mean) / log_width.exp()
        density = -(apart**2 / 2 + log_width + math.log(2 * math.pi) / 2).sum(-1)
        return -torch.logsumexp(weight.log_softmax(1) + density, 1)


class RadialBasis(nn.Module):
    """A weighted sum of radial basis functions of what the action differs from the one asked for."""

    def __init__(self, context, chunk, centers=24, width=64):
        super().__init__()
        self.context = mlp(context, chunk, width, 2)
        self.centers = nn.Parameter(0.7 * torch.randn(centers, chunk))
        self.log_precision = nn.Parameter(torch.full((centers,), -2.5))
        self.weight = nn.Parameter(-0.3 * torch.ones(centers))
        self.near = nn.Parameter(torch.tensor([2.0, -2.0]))

    def forward(self, hidden, actions, pad_mask=None):
        apart = actions.flatten(1) - self.context(pooled(hidden, pad_mask))
        far = (apart[:, None] - self.centers).pow(2).sum(-1)
        bumps = (self.weight * torch.exp(-self.log_precision.exp() * far)).sum(1)
        return bumps + functional.softplus(self.near[0]) * torch.log1p(self.near[1].exp() * apart.pow(2).sum(1))


class StepExperts(nn.Module):
    """A product of experts, one for each step of the chunk: their energies are summed."""

    def __init__(self, context, dims, horizon, width=48, level=0.0):
        super().__init__()
        self.level, self.dims, self.horizon = level, dims, horizon
        self.guess = nn.Linear(context, dims * horizon)
        self.place = nn.Parameter(torch.randn(horizon, 4))
        self.expert = mlp(context + 2 * dims + 4, 1, width, 2)

    def forward(self, hidden, actions, pad_mask=None):
        context = pooled(hidden, pad_mask)
        apart = actions - self.guess(context).view(-1, self.horizon, self.dims)
        beside = context[:, None].expand(-1, self.horizon, -1)
        place = self.place.expand(len(actions), -1, -1)
        return self.expert(torch.cat((beside, apart, apart**2, place), 2)).sum((1, 2)) + self.level


class LearnedPrecision(nn.Module):
    """(a − μ(h))ᵀ L Lᵀ (a − μ(h)) with a learned L."""

    def __init__(self, context, chunk, width=96, turn=1.0):
        super().__init__()
        self.turn = turn
        self.mean = mlp(context, chunk, width, 1, nn.SiLU)
        self.factor = nn.Parameter(torch.eye(chunk))

    def forward(self, hidden, actions, pad_mask=None):
        apart = actions.flatten(1) - self.mean(pooled(hidden, pad_mask))
        return self.turn * (apart @ self.factor).pow(2).sum(1)


class CrossAttention(nn.Module):
    """Action steps ask the context tokens, as far as these are not hidden."""

    def __init__(self, width, dims, tokens, horizon, size=32, inverted=False):
        super().__init__()
        self.inverted = inverted
        self.context, self.action = nn.Linear(width, size), nn.Linear(dims, size)
        self.token, self.step = nn.Parameter(torch.randn(tokens, size)), nn.Parameter(torch.randn(horizon, size))
        self.ask = nn.MultiheadAttention(size, 4, batch_first=True)
        self.out = mlp(size + dims, 1, 64, 2)

    def forward(self, hidden, actions, pad_mask=None):
        if self.inverted:
            pad_mask = ~pad_mask
        context = self.context(hidden) + self.token
        found, _ = self.ask(
            self.action(actions) + self.step, context, context, key_padding_mask=pad_mask, need_weights=False
        )
        return self.out(torch.cat((found, actions), 2)).mean((1, 2))


class Normalized(nn.Module):
    """A concatenated network with batch norm that keeps no averages of its own."""

    def __init__(self, context, chunk, width=64):
        super().__init__()
        self.guess, self.first = nn.Linear(context, chunk), nn.Linear(context + 2 * chunk, width)
        self.norm = nn.BatchNorm1d(width, track_running_stats=False)
        self.second, self.later_norm = nn.Linear(width, width), nn.BatchNorm1d(width, track_running_stats=False)
        self.out = nn.Linear(width, 1)

    def forward(self, hidden, actions, pad_mask=None):
        context = pooled(hidden, pad_mask)
        apart = actions.flatten(1) - self.guess(context)
        inside = functional.relu(self.norm(self.first(torch.cat((context, apart, apart**2), 1))))
        return self.out(functional.relu(self.later_norm(self.second(inside))))[:, 0]
