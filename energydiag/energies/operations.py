"""What can be told of a tensor operation without knowing the model that does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class OperationsMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A mode that sees operations as they reach the kernels, and does not load torch's compiler."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: it would load the whole compiler, a second, and stand before every operation."""
        return False


_WITH_DROPOUT = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default: 3,
    torch.ops.aten._scaled_dot_product_flash_attention.default: 3,
    torch.ops.aten._scaled_dot_product_efficient_attention.default: 5,
}
"""Attention that draws only where it drops something, and at which place among its arguments that is told."""

_kinds: dict[Any, str] = {}
"""Of every operation seen: ``"same"`` for the same inputs, ``"new"`` (draws, or works in place), or ``"dropout"``."""


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
    drawn = torch.Tag.nondeterministic_seeded in operation.tags
    fills = "empty" in operation._schema.name  # memory that is handed out for others to fill
    return "new" if drawn or fills or operation._schema.is_mutable else "same"


def draws(operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether random numbers are drawn."""
    if operation in _WITH_DROPOUT:
        return not is_repeatable(operation, args, kwargs)
    return torch.Tag.nondeterministic_seeded in operation.tags


def makes_memory(operation: Any, args: Sequence[Any], answer: Any) -> bool:
    """Whether an operation has answered with memory of its own, and not with a view or with what it changed.

    The schema alone does not tell: what reshapes may copy, and comes as one operation in inference mode.
    """
    if operation._schema.is_mutable:
        return False
    if not operation.is_view:
        return True
    if not (args and isinstance(args[0], Tensor) and isinstance(answer, Tensor)):
        return False
    return is_plain(args[0]) and is_plain(answer) and _address(args[0]) != _address(answer)


def _address(tensor: Tensor) -> int:
    address: int = tensor.untyped_storage()._cdata
    return address


def asks_for_values(operation: Any, args: Sequence[Any]) -> bool:
    """Whether what is done next may depend on what is in the tensors."""
    if operation is torch.ops.aten.index.Tensor:  # numbers choose as many as they are, yes and no as many as there are
        return any(each is not None and each.dtype in (torch.bool, torch.uint8) for each in args[1])
    return torch.Tag.data_dependent_output in operation.tags or torch.Tag.dynamic_output_shape in operation.tags


def is_plain(tensor: Tensor) -> bool:
    """Whether it is a place in a storage and nothing else."""
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
