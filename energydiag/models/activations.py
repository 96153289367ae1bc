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
    """

    name: str
    low: float
    high: float
    relative_slope: Callable[[Tensor], Tensor] | None
    value: Callable[[Tensor], Tensor]

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
        Activation("softplus", 0.0, math.inf, torch.sigmoid, torch.nn.functional.softplus),
        Activation("logsigmoid", -math.inf, 0.0, lambda u: torch.sigmoid(-u), torch.nn.functional.logsigmoid),
        Activation("relu", 0.0, math.inf, _relu_slope, torch.relu),
        Activation("hardsigmoid", 0.0, 1.0, _hardsigmoid_slope, torch.nn.functional.hardsigmoid),
        Activation("hardtanh", -1.0, 1.0, _hardtanh_slope, torch.nn.functional.hardtanh),
        Activation("exp", 0.0, math.inf, None, torch.exp),
    )
}
"""By the name of the torch function that computes it."""
