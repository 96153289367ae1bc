"""Ways to spoil the fresh weights of a model, before the first step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from .architectures import ACTIVATIONS, action_layers, first_layers, inner_of, last_layer


def apply(module: nn.Module, start: str) -> None:
    """Does ``name`` or ``name=number`` to the module."""
    name, _, number = start.partition("=")
    with torch.no_grad():
        STARTS[name](module, float(number) if number else 0.0)


def _last_bias(module: nn.Module, value: float) -> None:
    """The raw output begins at this value."""
    last_layer(module).bias.fill_(value)


def _last_weights(module: nn.Module, factor: float) -> None:
    """The last layer gets weights that are so many times larger."""
    last_layer(module).weight.mul_(factor)


def _first_weights(module: nn.Module, factor: float) -> None:
    """The layers that context and action meet first get weights and biases that are so many times larger."""
    for layer in first_layers(module):
        layer.weight.mul_(factor)
        layer.bias.mul_(factor)


def _hidden_biases(module: nn.Module, value: float) -> None:
    """Every linear layer in front of an activation begins with this bias."""
    before: nn.Module | None = None
    for part in module.modules():
        if isinstance(part, tuple(ACTIVATIONS.values())) and isinstance(before, nn.Linear):
            before.bias.fill_(value)
        before = part
    for layer in first_layers(module):
        layer.bias.fill_(value)
    second = getattr(inner_of(module), "second", None)
    if isinstance(second, nn.Linear):
        second.bias.fill_(value)


def _constant(module: nn.Module, value: float) -> None:
    """Every matrix holds one number, and every bias of a matrix zero."""
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            if parameter.dim() >= 2:
                parameter.fill_(value)
            elif not isinstance(part, nn.LayerNorm | nn.BatchNorm1d) and "bias" in name:
                parameter.zero_()


def _tiny_actions(module: nn.Module, factor: float) -> None:
    """The layers that the action meets first get weights that are so many times smaller; a slip keeps them so."""
    for layer in action_layers(module):
        layer.weight.mul_(factor)


STARTS: dict[str, Callable[[nn.Module, float], None]] = {
    "last-bias": _last_bias,
    "last-weights": _last_weights,
    "first-weights": _first_weights,
    "hidden-biases": _hidden_biases,
    "constant": _constant,
    "tiny-actions": _tiny_actions,
}
