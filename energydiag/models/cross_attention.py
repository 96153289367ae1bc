"""The cross-attention energy head that public work on vision-language-action policies uses.

Action steps are queries, context tokens are keys and values; MLP-ResNets stand before and after. The state-dict
keys tell every size, but neither the number of attention heads nor the activation of the energy.

Shapes: B samples, S context tokens, D context width, H action steps, A action dimensions, W hidden width.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterator, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from energydiag.errors import InvalidCheckpoint
from energydiag.heads import HeadForm, Pooling, head_form, stated_form
from energydiag.models.architecture import Architecture
from energydiag.models.energy_function import Mask
from energydiag.models.energy_head import EnergyHead, activate
from energydiag.models.mlp_resnet import MLPResNet
from energydiag.models.model_form import Forms, ModelForm

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
        head: The head's form, or its name in `energydiag.heads`.
        blocks: Residual blocks in the state, action and prediction stacks.
        normalise_actions: Whether a LayerNorm stands directly over the raw action.
    """

    def __init__(
        self,
        context: int,
        actions: int,
        hidden: int = 512,
        nhead: int = 8,
        head: HeadForm | str = "original",
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
        self.head = EnergyHead(head_form(head) if isinstance(head, str) else head)

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
        return cast("Tensor", self.head(attended_BHW, self.prediction_head))


def _table(
    module: nn.Module,
    hidden_BSD: Tensor,
    actions_BNHA: Tensor,
    masks: Mapping[Mask, Tensor | None],
    heads: Collection[HeadForm],
    nheads: Collection[int] | None = None,
) -> Iterator[tuple[ModelForm, Tensor]]:
    """Energies ``[B, N]`` in every form, with the work that forms have in common done once.

    ``nheads`` limits the numbers of attention heads to these.
    """
    model = cast("CrossAttentionEnergy", module)
    cross = model.cross
    context_BSW, action_BNHW = model.state_linear(hidden_BSD), model.action_linear(actions_BNHA)
    width = context_BSW.shape[-1]
    code_HW = sinusoidal_code(action_BNHW.shape[-2], width, action_BNHW)
    weights, biases = cross.in_proj_weight.chunk(3), cross.in_proj_bias.chunk(3)
    rows = (action_BNHW + code_HW).flatten(1, 2), context_BSW, context_BSW
    query, key, value = (functional.linear(x, w, b) for x, w, b in zip(rows, weights, biases, strict=True))
    for nhead in (n for n in range(1, width + 1) if width % n == 0 and (nheads is None or n in nheads)):
        q, k, v = (x.reshape(*x.shape[:2], nhead, -1).transpose(1, 2) for x in (query, key, value))
        score = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        for name, mask in masks.items():
            seen = score if mask is None else score.masked_fill(mask[:, None, None, :], -math.inf)
            mixed = (seen.softmax(dim=-1) @ v).transpose(1, 2).flatten(-2)
            attended_BNHW = cross.out_proj(mixed).reshape(action_BNHW.shape)
            raw: dict[Pooling, Tensor] = {
                "features": model.prediction_head(attended_BNHW.mean(dim=-2)),
                "energy": model.prediction_head(attended_BNHW).squeeze(-1),
            }
            raw["raw"] = raw["energy"].mean(dim=-1, keepdim=True)
            for form in heads:
                energy_BN = activate(form.activation, raw[form.pool]).mean(dim=-1)
                yield ModelForm(form, nhead, name), energy_BN


def _reform(module: nn.Module, form: ModelForm) -> nn.Module:
    model = cast("CrossAttentionEnergy", copy.deepcopy(module))
    if form.head is not None:
        model.head = EnergyHead(form.head)
    if form.nhead is not None:
        model.cross.num_heads, model.cross.head_dim = form.nhead, model.cross.embed_dim // form.nhead
    return model


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
        head=stated_form(settings) or "original",
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
    never_read=("gate_a",),
    forms=Forms(_table, _reform),
)
