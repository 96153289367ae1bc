"""The MLP-ResNet block stack that reads states, actions and attended tokens in the cross-attention head."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """``x + SiLU(Linear(LayerNorm(x)))`` on the last dimension."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ffn = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        return x + cast("Tensor", self.ffn(x))


class MLPResNet(nn.Module):
    """LayerNorm, Linear, SiLU, residual blocks, LayerNorm, Linear; attribute names are those of the saved keys.

    Args:
        inputs: Width of the last input dimension.
        hidden: Width inside.
        outputs: Width of the last output dimension.
        blocks: Number of residual blocks.
        normalise_input: Whether a LayerNorm stands directly over the input. Over a raw action it hides the
            scale and the shift of every step from the model.
    """

    def __init__(
        self, inputs: int, hidden: int, outputs: int, blocks: int = 1, *, normalise_input: bool = True
    ) -> None:
        super().__init__()
        self.layer_norm1: nn.Module = nn.LayerNorm(inputs) if normalise_input else nn.Identity()
        self.fc1 = nn.Linear(inputs, hidden)
        self.act = nn.SiLU()
        self.mlp_resnet_blocks = nn.ModuleList(ResidualBlock(hidden) for _ in range(blocks))
        self.layer_norm2 = nn.LayerNorm(hidden)
        self.fc2 = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.fc1(self.layer_norm1(x)))
        for block in self.mlp_resnet_blocks:
            x = block(x)
        return cast("Tensor", self.fc2(self.layer_norm2(x)))
