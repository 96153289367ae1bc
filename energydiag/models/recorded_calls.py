"""The calls of torch that one forward pass makes, in their order, and who made which tensor."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_iter

SHAPE_ONLY = frozenset(
    (
        *("view", "reshape", "squeeze", "unsqueeze", "flatten", "ravel", "view_as", "reshape_as", "expand"),
        *("transpose", "permute", "movedim", "swapaxes", "contiguous", "clone", "detach"),
        *("t", "diagonal", "diag", "getitem", "get", "select", "narrow", "float", "double", "to", "type", "type_as"),
    )
)
"""Functions that return values of their input as they are, by their `Call.plain_name`."""

_SAME_ACTIVATION = {"special_expit": "sigmoid", "log_sigmoid": "logsigmoid"}


@dataclass(frozen=True)
class Call:
    """One call.

    Attributes:
        function: What was called.
        args: By position.
        kwargs: By name.
        answer: What it returned.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    answer: Any

    @property
    def name(self) -> str:
        """As torch calls the function."""
        return function_name(self.function)

    @property
    def plain_name(self) -> str:
        """One name for a function, its method, its operator and its in-place form."""
        return activation_name(self.name).strip("_")

    @property
    def first(self) -> Any:
        """The first argument, also where it was given by name."""
        return self.args[0] if self.args else self.kwargs.get("input")

    def option(self, place: int, name: str, default: Any = None) -> Any:
        """An argument by its place or its name."""
        return self.args[place] if len(self.args) > place else self.kwargs.get(name, default)


def function_name(function: Callable[..., Any]) -> str:
    """As torch calls it."""
    return getattr(function, "__name__", str(function))


def activation_name(call_name: str) -> str:
    """One name for all the ways in which torch spells an activation."""
    name = call_name.rstrip("_")  # in-place forms end with one
    return _SAME_ACTIVATION.get(name, name)


class Recorder(TorchFunctionMode):
    """While active, keeps every call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        answer = func(*args, **(kwargs or {}))
        self.calls.append(Call(func, tuple(args), kwargs or {}, answer))
        return answer


class Makers:
    """Which call made a tensor; one that is worked on in place is made by several.

    Args:
        calls: In their order.
    """

    def __init__(self, calls: Sequence[Call]) -> None:
        self._places: dict[int, list[int]] = defaultdict(list)
        for place, call in enumerate(calls):
            for tensor in tensors_of(call.answer):
                self._places[id(tensor)].append(place)

    def place_of(self, tensor: Tensor, before: int) -> int | None:
        """The last call before this one that returned the tensor; None where none did."""
        places = self._places.get(id(tensor), [])
        found = bisect_left(places, before)
        return places[found - 1] if found else None


def tensors_of(value: Any) -> Iterable[Tensor]:
    """The tensors in arguments or in an answer."""
    return (leaf for leaf in tree_iter(value) if isinstance(leaf, Tensor))
