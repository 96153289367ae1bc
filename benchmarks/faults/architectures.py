"""Energy models as different people would write them, called as ``model(hidden, actions, pad_mask) -> [B]``.

Four architectures: the cross-attention head of energydiag, an MLP over context and action side by side, two towers
with a bilinear product, and an action MLP that the context modulates (FiLM, Perez et al. 2018). Adapters stand before a
model and break it in one known way; they are part of the model, in training and in inspection alike.

Shapes: B samples, S context tokens, D context width, H action steps, A action dimensions, W hidden width.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from energydiag.models.cross_attention import CrossAttentionEnergy

NHEAD = 4


@dataclass(frozen=True)
class Shape:
    """Everything that decides a model besides its weights.

    Attributes:
        architecture: A key of `ARCHITECTURES`.
        width: W.
        head: A key of `HEADS`.
        activation: A key of `ACTIVATIONS`, inside the network.
        dropout: Probability of every dropout.
        normalise_actions: Whether a LayerNorm stands directly over the raw action.
        pooling: How own architectures make one vector of tokens: ``"mean"``, ``"flat"`` or ``"attention"``.
        adapters: Keys of `ADAPTERS`, in order.
        context: D.
        actions: A.
        steps: H.
        tokens: S.
    """

    architecture: str = "cross-attention"
    width: int = 32
    head: str = "linear"
    activation: str = "silu"
    dropout: float = 0.0
    normalise_actions: bool = False
    pooling: str = "mean"
    adapters: tuple[str, ...] = ()
    context: int = 64
    actions: int = 4
    steps: int = 8
    tokens: int = 16


HEADS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda raw: raw,
    "original": lambda raw: torch.sigmoid(raw) + 1e-6,
    "rescaled": lambda raw: 2 * torch.sigmoid(0.5 * raw) + 0.1,
    "softplus": lambda raw: nn.functional.softplus(raw) + 1e-4,
}
"""From the raw output to the energy; the names are those of energydiag."""

ACTIVATIONS: dict[str, type[nn.Module]] = {"silu": nn.SiLU, "relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


class Pool(nn.Module):
    """``[B, S, D]`` tokens to one vector: their mean, one after the other, or what learnt queries attend to.

    Hidden tokens are left out, or zero where all stand one after the other.
    """

    QUERIES = 4

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.pooling = shape.pooling
        self.width = {"mean": 1, "flat": shape.tokens, "attention": self.QUERIES}[shape.pooling] * shape.context
        self.score = nn.Linear(shape.context, self.QUERIES) if shape.pooling == "attention" else None

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        if hidden.dim() == 2:
            return hidden
        if self.pooling == "flat":
            seen = hidden if mask is None else hidden.masked_fill(mask[..., None], 0.0)
            return seen.flatten(1)
        score = hidden.new_zeros(*hidden.shape[:2], 1) if self.score is None else self.score(hidden)
        if mask is not None:
            # a finite number, so that a context that is all hidden gives some energy and not NaN
            score = score.masked_fill(mask[..., None], -1e4)
        return (score.softmax(dim=1).transpose(1, 2) @ hidden).flatten(1)


def _mlp(shape: Shape, inputs: int, outputs: int, hidden: int) -> nn.Sequential:
    activation = ACTIVATIONS[shape.activation]
    layers: list[nn.Module] = []
    for width in (inputs, hidden):
        layers += [nn.Linear(width, hidden), activation(), nn.Dropout(shape.dropout)]
    return nn.Sequential(*layers, nn.Linear(hidden, outputs))


class Own(nn.Module):
    """What the own architectures share: pooled context, flat action, raw output, head."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.pool = Pool(shape)
        self.action_norm: nn.Module = nn.LayerNorm(shape.actions) if shape.normalise_actions else nn.Identity()
        self.head = HEADS[shape.head]
        self.flat = shape.steps * shape.actions

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        raw = self.raw(self.pool(hidden, pad_mask), self.action_norm(actions).flatten(1))
        return self.head(raw[..., 0])

    def raw(self, context: Tensor, action: Tensor) -> Tensor:
        """``[B, 1]``."""
        raise NotImplementedError


class ConcatMLP(Own):
    """One MLP over context, action, their product and their difference side by side, both brought to one width before.

    The four are those that Conneau et al. (2017, §3.1) compare two sentences by.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        wide = 2 * shape.width
        self.of_context = nn.Linear(self.pool.width, wide)
        self.of_action = nn.Linear(self.flat, wide)
        self.net = _mlp(shape, 4 * wide, 1, wide)

    def raw(self, context: Tensor, action: Tensor) -> Tensor:
        u, v = self.of_context(context), self.of_action(action)
        return cast("Tensor", self.net(torch.cat((u, v, u * v, (u - v).abs()), dim=-1)))


class Tower(nn.Module):
    """An MLP beside a linear layer."""

    def __init__(self, shape: Shape, inputs: int, outputs: int) -> None:
        super().__init__()
        self.net = _mlp(shape, inputs, outputs, outputs)
        self.skip = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", self.net(x) + self.skip(x))


class TwoTower(Own):
    """``−φ(h)·ψ(a) / √W`` and a bias from each tower."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        wide = 3 * shape.width
        self.phi = Tower(shape, self.pool.width, wide)
        self.psi = Tower(shape, self.flat, wide)
        self.bias = nn.Linear(2 * wide, 1)

    def raw(self, context: Tensor, action: Tensor) -> Tensor:
        phi, psi = self.phi(context), self.psi(action)
        product = (phi * psi).sum(dim=-1, keepdim=True) / phi.shape[-1] ** 0.5
        return cast("Tensor", self.bias(torch.cat((phi, psi), dim=-1)) - product)


class FiLM(Own):
    """An action MLP whose hidden units the context scales and shifts."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        wide = 2 * shape.width
        activation = ACTIVATIONS[shape.activation]
        self.context = nn.Sequential(nn.Linear(self.pool.width, wide), activation(), nn.Linear(wide, 4 * wide))
        self.first, self.second = nn.Linear(self.flat, wide), nn.Linear(wide, wide)
        self.act1, self.act2 = activation(), activation()
        self.drop = nn.Dropout(shape.dropout)
        self.out = nn.Linear(wide, 1)

    def raw(self, context: Tensor, action: Tensor) -> Tensor:
        scale1, shift1, scale2, shift2 = self.context(context).chunk(4, dim=-1)
        x = self.drop(self.act1((1 + scale1) * self.first(action) + shift1))
        x = self.drop(self.act2((1 + scale2) * self.second(x) + shift2))
        return cast("Tensor", self.out(x))


class Distance(Own):
    """A weighted sum of the squared differences of φ(h) and ψ(a)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        wide = 2 * shape.width
        self.phi = Tower(shape, self.pool.width, wide)
        self.psi = Tower(shape, self.flat, wide)
        self.out = nn.Linear(wide, 1)
        with torch.no_grad():
            self.out.weight.abs_()  # a distance to begin with; nothing keeps it one

    def raw(self, context: Tensor, action: Tensor) -> Tensor:
        return cast("Tensor", self.out((self.phi(context) - self.psi(action)).square()))


class Hadamard(Own):
    """An MLP over φ(h) ∘ ψ(a), the elementwise product of two towers (Kim et al. 2017)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        wide = 2 * shape.width
        self.phi = Tower(shape, self.pool.width, wide)
        self.psi = Tower(shape, self.flat, wide)
        self.net = _mlp(shape, wide, 1, wide)

    def raw(self, context: Tensor, action: Tensor) -> Tensor:
        return cast("Tensor", self.net(self.phi(context) * self.psi(action)))


def _cross_attention(shape: Shape) -> nn.Module:
    module = CrossAttentionEnergy(
        shape.context,
        shape.actions,
        hidden=shape.width,
        nhead=NHEAD,
        head=shape.head,
        normalise_actions=shape.normalise_actions,
    )
    module.position_dropout.p = shape.dropout
    if shape.activation != "silu":
        for parent in list(module.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.SiLU):
                    setattr(parent, name, ACTIVATIONS[shape.activation]())
    return module


ARCHITECTURES: dict[str, Callable[[Shape], nn.Module]] = {
    "cross-attention": _cross_attention,
    "concat-mlp": ConcatMLP,
    "two-tower": TwoTower,
    "film": FiLM,
    "distance": Distance,
    "hadamard": Hadamard,
}

Inputs = tuple[Tensor, Tensor, "Tensor | None"]


class Adapter(nn.Module):
    """Changes what a model is given, and leaves it alone if not told otherwise."""

    def __init__(self, _shape: Shape) -> None:
        super().__init__()
        self.extra_actions = 0

    def forward(self, hidden: Tensor, actions: Tensor, mask: Tensor | None) -> Inputs:
        return hidden, actions, mask


class ContextZeroed(Adapter):
    """The context is multiplied by zero."""

    def forward(self, hidden: Tensor, actions: Tensor, mask: Tensor | None) -> Inputs:
        return 0 * hidden, actions, mask


class ActionZeroed(Adapter):
    """The action is multiplied by zero."""

    def forward(self, hidden: Tensor, actions: Tensor, mask: Tensor | None) -> Inputs:
        return hidden, 0 * actions, mask


class MaskIgnored(Adapter):
    """The mask is thrown away."""

    def forward(self, hidden: Tensor, actions: Tensor, _mask: Tensor | None) -> Inputs:
        return hidden, actions, None


class MaskInverted(Adapter):
    """The mask is read the other way round."""

    def forward(self, hidden: Tensor, actions: Tensor, mask: Tensor | None) -> Inputs:
        return hidden, actions, None if mask is None else ~mask


class Jagged(Adapter):
    """Random waves of the action, a quarter of whose length is a small part of a policy's error, stand beside it."""

    WAVES = 8
    FREQUENCY = 60.0

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.extra_actions = self.WAVES
        self.register_buffer("direction", torch.randn(shape.actions, self.WAVES) / shape.actions**0.5)

    def forward(self, hidden: Tensor, actions: Tensor, mask: Tensor | None) -> Inputs:
        waves = 2 * torch.sin(self.FREQUENCY * actions @ cast("Tensor", self.direction))
        return hidden, torch.cat((0.3 * actions, waves), dim=-1), mask


class Bottleneck(Adapter):
    """All of the context goes through one number per token."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.down, self.up = nn.Linear(shape.context, 1), nn.Linear(1, shape.context)

    def forward(self, hidden: Tensor, actions: Tensor, mask: Tensor | None) -> Inputs:
        return self.up(self.down(hidden)), actions, mask


class DeepSigmoid(Adapter):
    """Twelve sigmoid layers with small weights stand before context and action."""

    DEPTH = 12

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.for_hidden = self._stack(shape.context, shape.width)
        self.for_actions = self._stack(shape.actions, shape.width)

    def _stack(self, outer: int, inner: int) -> nn.Sequential:
        widths = [outer] + [inner] * (self.DEPTH - 1) + [outer]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layer = nn.Linear(before, after)
            nn.init.normal_(layer.weight, std=0.5 / before**0.5)
            layers += [layer, nn.Sigmoid()]
        return nn.Sequential(*layers)

    def forward(self, hidden: Tensor, actions: Tensor, mask: Tensor | None) -> Inputs:
        return self.for_hidden(hidden), self.for_actions(actions), mask


class StaleBatchNorm(Adapter):
    """BatchNorm over context and action whose running statistics never move from mean 0 and variance 1.

    The inputs come in another unit and with an offset, as raw sensor values do, which training never notices.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.for_hidden = nn.BatchNorm1d(shape.context, momentum=0.0)
        self.for_actions = nn.BatchNorm1d(shape.actions, momentum=0.0)

    def forward(self, hidden: Tensor, actions: Tensor, mask: Tensor | None) -> Inputs:
        raw_hidden, raw_actions = 4 * hidden + 3, 4 * actions + 3
        return self._over(self.for_hidden, raw_hidden), self._over(self.for_actions, raw_actions), mask

    @staticmethod
    def _over(norm: nn.BatchNorm1d, value: Tensor) -> Tensor:
        return cast("Tensor", norm(value.reshape(-1, value.shape[-1])).reshape(value.shape))


ADAPTERS: dict[str, type[Adapter]] = {
    "context-zeroed": ContextZeroed,
    "action-zeroed": ActionZeroed,
    "mask-ignored": MaskIgnored,
    "mask-inverted": MaskInverted,
    "jagged": Jagged,
    "bottleneck": Bottleneck,
    "deep-sigmoid": DeepSigmoid,
    "stale-batchnorm": StaleBatchNorm,
}


class Adapted(nn.Module):
    """A model behind its adapters."""

    def __init__(self, adapters: list[Adapter], inner: nn.Module) -> None:
        super().__init__()
        self.adapters = nn.ModuleList(adapters)
        self.inner = inner

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        inputs: Inputs = (hidden, actions, pad_mask)
        for adapter in self.adapters:
            inputs = adapter(*inputs)
        return cast("Tensor", self.inner(*inputs))


def build(shape: Shape) -> nn.Module:
    """The model with fresh weights from torch's random numbers."""
    adapters = [ADAPTERS[name](shape) for name in shape.adapters]
    widened = shape.actions + sum(adapter.extra_actions for adapter in adapters)
    inner = ARCHITECTURES[shape.architecture](Shape(**{**vars(shape), "adapters": (), "actions": widened}))
    return Adapted(adapters, inner) if adapters else inner


def inner_of(module: nn.Module) -> nn.Module:
    """The model without its adapters."""
    return module.inner if isinstance(module, Adapted) else module


def last_layer(module: nn.Module) -> nn.Linear:
    """The linear layer that ends in the raw output; the two towers' is that of their biases."""
    inner = inner_of(module)
    if isinstance(inner, CrossAttentionEnergy):
        return inner.prediction_head.fc2
    if isinstance(inner, TwoTower):
        return inner.bias
    return cast("nn.Linear", inner.net[-1] if isinstance(inner, ConcatMLP | Hadamard) else inner.out)


def action_layers(module: nn.Module) -> list[nn.Linear]:
    """The linear layers that the action meets first."""
    inner = inner_of(module)
    if isinstance(inner, CrossAttentionEnergy):
        return [inner.action_linear.fc1]
    if isinstance(inner, TwoTower | Distance | Hadamard):
        return [cast("nn.Linear", inner.psi.net[0]), inner.psi.skip]
    return [cast("nn.Linear", inner.first if isinstance(inner, FiLM) else inner.of_action)]


def first_layers(module: nn.Module) -> list[nn.Linear]:
    """The linear layers that context and action meet first."""
    inner = inner_of(module)
    layers = action_layers(module)[:1]
    if isinstance(inner, CrossAttentionEnergy):
        layers.append(inner.state_linear.fc1)
    elif isinstance(inner, TwoTower | Distance | Hadamard):
        layers.append(cast("nn.Linear", inner.phi.net[0]))
    elif isinstance(inner, FiLM):
        layers.append(cast("nn.Linear", inner.context[0]))
    elif isinstance(inner, ConcatMLP):
        layers.append(inner.of_context)
    return layers


def action_tower(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that belong to the action alone."""
    inner = inner_of(module)
    if isinstance(inner, CrossAttentionEnergy):
        return list(inner.action_linear.parameters())
    if isinstance(inner, TwoTower | Distance | Hadamard):
        return list(inner.psi.parameters())
    return [p for layer in action_layers(module) for p in layer.parameters()]
