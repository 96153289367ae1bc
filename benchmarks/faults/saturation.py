"""The raw output of a model, read at its last layer, and where it lies under the head's slope.

Computed here in another way than energydiag does it, so that the truth of a run does not rest on what is tested.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from energydiag.batch import Batch

from .architectures import HEADS, Own, inner_of

STEEPEST = {"original": 0.25, "rescaled": 0.5 * 0.5, "softplus": 1.0}
"""Largest slope of each head that has one."""


def raw_outputs(module: nn.Module, batch: Batch) -> Tensor:
    """``[B]`` at the batch's own actions, before the head; the module must be in the mode it is wanted in."""
    found: list[Tensor] = []
    inner = inner_of(module)
    if isinstance(inner, Own):
        head, inner.head = inner.head, lambda raw: raw
        try:
            return module(batch.hidden, batch.actions, batch.pad_mask).detach()
        finally:
            inner.head = head
    hook = inner.get_submodule("prediction_head").register_forward_hook(lambda _m, _i, out: found.append(out))
    try:
        module(batch.hidden, batch.actions, batch.pad_mask)
    finally:
        hook.remove()
    return found[0].detach().flatten(1).mean(dim=1)


def slopes(raw: Tensor, head: str) -> Tensor:
    """The head's slope at raw values, as a share of its steepest one; 1 for a linear head."""
    if head == "linear":
        return torch.ones_like(raw)
    leaf = raw.float().detach().requires_grad_(True)
    return torch.autograd.grad(HEADS[head](leaf).sum(), leaf)[0] / STEEPEST[head]


def saturated_share(module: nn.Module, head: str, batch: Batch) -> float:
    """Share of the raw values at the batch's own actions with less than a tenth of the steepest slope, in eval mode."""
    if head == "linear":
        return 0.0
    module.eval()
    with torch.no_grad():
        raw = raw_outputs(module, batch)
    return float((slopes(raw, head) < 0.1).float().mean())
