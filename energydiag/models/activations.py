"""Activations that can stand at the end of an energy head: range, and slope as a share of the steepest slope.

Slopes are computed as automatic differentiation computes them, in the type of the input: a slope that is exactly
zero here is a gradient that is exactly zero in training. In float32 a sigmoid loses its slope above 16.64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Activation:
    """An elementwise function u -> y.

    Attributes:
        name: As it is called in torch.
        low: Infimum of y.
        high: Supremum of y.
        relative_slope: ``|y'(u)| / max |y'|``, elementwise, shape kept; None where the slope has no maximum.
        value: y(u), for drawing.
        steepest: Where the slope is largest; infinite where it only comes near its maximum.
        clip: c of a soft clip ``c·tanh(u)`` between u and ``outer``, or None.
    """

    name: str
    low: float
    high: float
    relative_slope: Callable[[Tensor], Tensor] | None
    value: Callable[[Tensor], Tensor]
    steepest: float = 0.0
    clip: float | None = None

    @property
    def function(self) -> str:
        """The torch function that is given u."""
        return self.name if self.clip is None else "tanh"

    @property
    def outer(self) -> str:
        """The torch function that returns y; the same but for a soft clip."""
        return self.name.partition("-clipped")[0]

    @property
    def inner_text(self) -> str:
        """What stands between u and ``outer``, as a pattern for u."""
        return "{}" if self.clip is None else f"{self.clip:g}·tanh({{}})"

    @property
    def bounded(self) -> bool:
        """Whether the range is finite on both sides."""
        return math.isfinite(self.low) and math.isfinite(self.high)


def _sigmoid_slope(u: Tensor) -> Tensor:
    y = torch.sigmoid(u)
    return 4 * (y * (1 - y))


def _tanh_slope(u: Tensor) -> Tensor:
    y = torch.tanh(u)
    return 1 - y * y


def _relu_slope(u: Tensor) -> Tensor:
    return (u > 0).to(u.dtype)


def _hardsigmoid_slope(u: Tensor) -> Tensor:
    return ((u > -3) & (u < 3)).to(u.dtype)


def _hardtanh_slope(u: Tensor) -> Tensor:
    return ((u > -1) & (u < 1)).to(u.dtype)


ACTIVATIONS: dict[str, Activation] = {
    activation.name: activation
    for activation in (
        Activation("sigmoid", 0.0, 1.0, _sigmoid_slope, torch.sigmoid),
        Activation("tanh", -1.0, 1.0, _tanh_slope, torch.tanh),
        Activation("softplus", 0.0, math.inf, torch.sigmoid, torch.nn.functional.softplus, math.inf),
        Activation(
            "logsigmoid", -math.inf, 0.0, lambda u: torch.sigmoid(-u), torch.nn.functional.logsigmoid, -math.inf
        ),
        Activation("relu", 0.0, math.inf, _relu_slope, torch.relu, math.inf),
        Activation("hardsigmoid", 0.0, 1.0, _hardsigmoid_slope, torch.nn.functional.hardsigmoid),
        Activation("hardtanh", -1.0, 1.0, _hardtanh_slope, torch.nn.functional.hardtanh),
        Activation("exp", 0.0, math.inf, None, torch.exp),
    )
}
"""By the name of the torch function that computes it."""


def soft_clipped(outer: Activation, clip: float) -> Activation | None:
    """``outer(clip·tanh(u))``, as public heads keep raw values from running away; None where its slope is not known.

    Its ends are those of ``outer`` at ±clip, and its slope falls to zero on both sides.
    """
    slope = outer.relative_slope
    if slope is None or outer.clip is not None:
        return None

    def rising(u: Tensor) -> Tensor:
        y = torch.tanh(u)
        return slope(clip * y) * (1 - y * y)

    grid = torch.linspace(-4, 4, 8001, dtype=torch.float64)  # beyond, tanh has lost .999 of its slope
    largest, where = rising(grid).max(dim=0)
    ends = outer.value(torch.tensor([-clip, clip], dtype=torch.float64)).tolist()
    return Activation(
        name=f"{outer.name}-clipped",
        low=min(ends),
        high=max(ends),
        relative_slope=lambda u: rising(u) / float(largest),
        value=lambda u: outer.value(clip * torch.tanh(u)),
        steepest=float(grid[where]),
        clip=clip,
    )


def activation_named(name: str, clip: float | None = None) -> Activation:
    """The activation of this name, with the soft clip that its name speaks of.

    Raises:
        KeyError: There is none.
    """
    outer = ACTIVATIONS[name.removesuffix("-clipped")]
    clipped = outer if clip is None else soft_clipped(outer, clip)
    if clipped is None:
        raise KeyError(name)
    return clipped
