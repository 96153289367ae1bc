"""The cross-attention energy head that public work on vision-language-action policies uses.

Action steps are queries, context tokens are keys and values; MLP-ResNets stand before and after. The state-dict
keys tell every size, but neither the number of attention heads nor the activation of the energy.

Shapes: B samples, S context tokens, D context width, H action steps, A action dimensions, W hidden width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from energydiag.errors import InvalidCheckpoint
from energydiag.models.architecture import Architecture
from energydiag.models.heads import EnergyHead
from energydiag.models.mlp_resnet import MLPResNet

_PARTS = ("state_linear", "action_linear", "prediction_head")


def sinusoidal_code(steps: int, width: int, like: Tensor) -> Tensor:
    """The fixed position code of Vaswani et al. (2017), eq. in §3.5, as ``[steps, width]`` on ``like``'s device."""
    position = torch.arange(steps, device=like.device, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, device=like.device, dtype=torch.float32) * (-math.log(10_000.0) / width))
    angle = position * rate
    return torch.stack((angle.sin(), angle.cos()), dim=-1).reshape(steps, -1)[:, :width].to(like.dtype)


class CrossAttentionEnergy(nn.Module):
    """``E(h, a, pad_mask) -> [B]``.

    Args:
        context: D, width of a context token.
        actions: A, width of an action step.
        hidden: W, width inside; a multiple of ``nhead``.
        nhead: Attention heads.
        head: A key of `energydiag.models.heads.HEADS`.
        blocks: Residual blocks in the state, action and prediction stacks.
        normalise_actions: Whether a LayerNorm stands directly over the raw action.
    """

    def __init__(
        self,
        context: int,
        actions: int,
        hidden: int = 512,
        nhead: int = 8,
        head: str = "original",
        blocks: tuple[int, int, int] = (1, 1, 1),
        *,
        normalise_actions: bool = True,
    ) -> None:
        super().__init__()
        state_blocks, action_blocks, prediction_blocks = blocks
        self.state_linear = MLPResNet(context, hidden, hidden, state_blocks)
        self.action_linear = MLPResNet(actions, hidden, hidden, action_blocks, normalise_input=normalise_actions)
        self.cross = nn.MultiheadAttention(hidden, nhead, batch_first=True)
        self.prediction_head = MLPResNet(hidden, hidden, 1, prediction_blocks)
        self.position_dropout = nn.Dropout(0.2)
        self.head = EnergyHead(head)

    def forward(self, hidden_BSD: Tensor, actions_BHA: Tensor, pad_mask_BS: Tensor | None = None) -> Tensor:
        """Energies ``[B]``; ``pad_mask_BS`` is True where a context token is hidden."""
        context_BSW = self.state_linear(hidden_BSD)
        action_BHW = self.action_linear(actions_BHA)
        code_HW = sinusoidal_code(action_BHW.shape[-2], action_BHW.shape[-1], action_BHW)
        attended_BHW, _ = self.cross(
            self.position_dropout(action_BHW + code_HW),
            context_BSW,
            context_BSW,
            key_padding_mask=pad_mask_BS,
            need_weights=False,
        )
        return cast("Tensor", self.head(self.prediction_head(attended_BHW)))


def _count_blocks(tensors: Mapping[str, Tensor], part: str) -> int:
    prefix = f"{part}.mlp_resnet_blocks."
    return len({key[len(prefix) :].split(".")[0] for key in tensors if key.startswith(prefix)})


def _matches(keys: frozenset[str]) -> bool:
    return "cross.in_proj_weight" in keys and all(any(key.startswith(f"{part}.") for key in keys) for part in _PARTS)


def _matrix_shape(tensors: Mapping[str, Tensor], key: str) -> tuple[int, int]:
    if key not in tensors:
        raise InvalidCheckpoint(
            f"The checkpoint does not fit the model, so nothing was measured. missing: {key}.",
            "check that the whole state dict was saved.",
        )
    shape = tensors[key].shape
    if len(shape) != 2 or 0 in shape:
        raise InvalidCheckpoint(
            f"The checkpoint does not fit the model: {key} must be a matrix, it is {list(shape)}.",
            "check that this is the checkpoint of an energy head.",
        )
    return shape[0], shape[1]


def _build(tensors: Mapping[str, Tensor], settings: Mapping[str, str]) -> nn.Module:
    hidden, context = _matrix_shape(tensors, "state_linear.fc1.weight")
    return CrossAttentionEnergy(
        context=context,
        actions=_matrix_shape(tensors, "action_linear.fc1.weight")[1],
        hidden=hidden,
        nhead=int(settings["nhead"]),
        head=settings["head"],
        blocks=cast("tuple[int, int, int]", tuple(_count_blocks(tensors, part) for part in _PARTS)),
        normalise_actions="action_linear.layer_norm1.weight" in tensors,
    )


def _widths(tensors: Mapping[str, Tensor]) -> tuple[int, int]:
    return tensors["state_linear.fc1.weight"].shape[1], tensors["action_linear.fc1.weight"].shape[1]


def _check(tensors: Mapping[str, Tensor], settings: Mapping[str, str]) -> str | None:
    hidden, _ = _matrix_shape(tensors, "state_linear.fc1.weight")
    if hidden % int(settings["nhead"]):
        return f"the hidden width {hidden} is not a multiple of --nhead {settings['nhead']}"
    return None


ARCHITECTURE = Architecture(
    name="cross-attention",
    asks_for=("head", "nhead"),
    anchor="cross.in_proj_weight",
    matches=_matches,
    check=_check,
    widths=_widths,
    build=_build,
)
