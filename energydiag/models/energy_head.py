"""The end of a built-in architecture: from attended features to energies, in one of the published forms.

Shapes: B samples, H action steps, W hidden width; leading dimensions may be mapped over.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from energydiag.heads import HeadActivation, HeadForm


def activate(activation: HeadActivation, raw: Tensor) -> Tensor:
    """The energies of raw values, elementwise; the shape is kept."""
    if activation.soft_clip is not None:
        raw = activation.soft_clip * torch.tanh(raw / activation.soft_clip)
    if activation.function == "linear":
        return raw
    inner = raw if activation.input_scale == 1 else activation.input_scale * raw
    outer = torch.sigmoid(inner) if activation.function == "sigmoid" else torch.nn.functional.softplus(inner)
    return (outer if activation.scale == 1 else activation.scale * outer) + activation.offset


class EnergyHead(nn.Module):
    """Pools the steps of an action chunk and applies the activation around a prediction head; holds no parameter.

    Args:
        form: Which pooling and which activation.
    """

    def __init__(self, form: HeadForm) -> None:
        super().__init__()
        self.form = form

    def forward(self, attended_BHW: Tensor, prediction_head: Callable[[Tensor], Tensor]) -> Tensor:
        """Energies ``[B]``."""
        pool, activation = self.form.pool, self.form.activation
        if pool == "features":
            return activate(activation, prediction_head(attended_BHW.mean(dim=-2)).squeeze(-1))
        raw_BH = prediction_head(attended_BHW).squeeze(-1)
        if pool == "raw":
            return activate(activation, raw_BH.mean(dim=-1))
        return activate(activation, raw_BH).mean(dim=-1)

    def extra_repr(self) -> str:
        return self.form.formula
