"""How long weights, gradients and updates are: a few norms over the parameters that learn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

_MOST_COPIED = 1 << 30
"""Bytes of weights, 1 GiB, up to which a copy is kept over one step, to see how far the step went (a guess)."""


def learning(module: nn.Module) -> list[Tensor]:
    """The parameters that need a gradient; all of them where none does."""
    every: list[Tensor] = list(module.parameters())
    return [p for p in every if p.requires_grad] or every


def gradient_norm(module: nn.Module) -> float | None:
    """Euclidean norm of all gradients that are there, None where there are none."""
    gradients = [p.grad for p in learning(module) if p.grad is not None]
    return float(get_total_norm(gradients)) if gradients else None


def weight_numbers(module: nn.Module, before: Sequence[Tensor] | None) -> dict[str, float]:
    """Norm of the weights, how many tensors hold something that is not finite, and how far the last step went.

    Args:
        module: Whose.
        before: The weights before the last step, as `copied` made them.
    """
    weights = [p.detach() for p in learning(module)]
    if not weights:
        return {}
    norm = float(get_total_norm(weights))
    both = [*weights, *(p.grad for p in learning(module) if p.grad is not None)]
    norms = [norm] if len(both) == len(weights) else [norm, float(get_total_norm(both[len(weights) :]))]
    finite = all(abs(n) < float("inf") for n in norms)  # NaN is not below anything
    found = {
        "weight_norm": norm,
        "nonfinite_tensors": 0.0 if finite else float(sum(not bool(torch.isfinite(t).all()) for t in both)),
    }
    fits = before is not None and [b.shape for b in before] == [w.shape for w in weights]
    if before is not None and fits and norm > 0:
        moved = float(get_total_norm(torch._foreach_sub(weights, list(before))))
        found["update_ratio"] = moved / norm
    return found


def copied(module: nn.Module) -> list[Tensor] | None:
    """A copy of the weights, None where they are too many."""
    weights = [p.detach() for p in learning(module)]
    if sum(w.nbytes for w in weights) > _MOST_COPIED:
        return None
    return [w.clone() for w in weights]
