"""How a raw output becomes an energy: the five variants seen in the wild, which share their state-dict keys.

Shapes: ``raw_BH1`` is the head's output before its activation; the energy is ``[B]``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class HeadKind:
    """One way to turn raw outputs into an energy.

    Attributes:
        name: What ``--head`` takes.
        formula: The energy as a person would write it.
        pool_first: Whether steps are averaged before the activation (else after it).
        activation: Raw value to energy, elementwise.
    """

    name: str
    formula: str
    pool_first: bool
    activation: Callable[[Tensor], Tensor]


def _original(raw: Tensor) -> Tensor:
    return torch.sigmoid(raw) + 1e-6


def _rescaled(raw: Tensor) -> Tensor:
    return 2.0 * torch.sigmoid(0.5 * raw) + 0.1


def _softplus(raw: Tensor) -> Tensor:
    return functional.softplus(raw) + 1e-4


def _linear(raw: Tensor) -> Tensor:
    return raw


HEADS: dict[str, HeadKind] = {
    kind.name: kind
    for kind in (
        HeadKind("original", "sigmoid(mean raw) + 1e-6", True, _original),
        HeadKind("rescaled", "2·sigmoid(0.5·mean raw) + 0.1", True, _rescaled),
        HeadKind("rescaled-per-step", "mean of 2·sigmoid(0.5·raw) + 0.1", False, _rescaled),
        HeadKind("softplus", "softplus(mean raw) + 1e-4", True, _softplus),
        HeadKind("linear", "mean raw", True, _linear),
    )
}


class EnergyHead(nn.Module):
    """Pools raw values over the steps of an action chunk and applies the activation; holds no parameter.

    Args:
        kind: A key of `HEADS`.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = HEADS[kind]

    def forward(self, raw_BH1: Tensor) -> Tensor:
        if self.kind.pool_first:
            return self.kind.activation(raw_BH1.mean(dim=(-2, -1)))
        return self.kind.activation(raw_BH1).mean(dim=(-2, -1))

    def extra_repr(self) -> str:
        return self.kind.formula
