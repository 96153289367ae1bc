"""What can be told of a tensor operation without knowing the model that does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_iter

_WITH_DROPOUT = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default: 3,
    torch.ops.aten._scaled_dot_product_flash_attention.default: 3,
    torch.ops.aten._scaled_dot_product_efficient_attention.default: 5,
}
"""Attention that draws only where it drops something, and at which place among its arguments that is told."""

_kinds: dict[Any, str] = {}
"""Of every operation seen: ``"same"`` for the same inputs, ``"new"`` each time, or ``"dropout"``: depends on that."""


def is_repeatable(operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether the same inputs give the same answer: nothing is drawn, nothing is changed in place.

    Args:
        operation: One of ``torch.ops``, as a dispatch mode gets it.
        args: What it is called with.
        kwargs: What it is called with by name.
    """
    kind = _kinds.get(operation)
    if kind is None:
        kind = _kinds[operation] = _kind(operation)
    if kind == "dropout":
        place = _WITH_DROPOUT[operation]
        return not (args[place] if len(args) > place else kwargs.get("dropout_p", 0.0))
    return kind == "same"


def _kind(operation: Any) -> str:
    if operation in _WITH_DROPOUT:
        return "dropout"
    draws = torch.Tag.nondeterministic_seeded in operation.tags
    fills = "empty" in operation._schema.name  # memory that is handed out for others to fill
    return "new" if draws or fills or operation._schema.is_mutable else "same"


def is_plain(tensor: Tensor) -> bool:
    """Whether it is its storage and nothing else."""
    return type(tensor) in (Tensor, nn.Parameter, nn.Buffer) and tensor.layout == torch.strided


def geometry(tensor: Tensor) -> tuple[Any, ...]:
    """Which part of its storage it shows, and as what."""
    return (
        tensor.storage_offset(),
        tensor.shape,
        tensor.stride(),
        tensor.dtype,
        tensor.is_conj(),
        tensor.is_neg(),
    )


def tensors_in(answer: Any) -> list[Tensor]:
    """The tensors of an answer, from the first to the last."""
    if isinstance(answer, Tensor):
        return [answer]
    return [leaf for leaf in tree_iter(answer) if isinstance(leaf, Tensor)]
