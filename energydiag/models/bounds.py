"""Between which values an energy is, by interval arithmetic over the calls that computed it.

The walk goes back from the energy through elementwise functions, averages and changes of shape, as far as their ends
are known. What does not depend on the inputs, such as a learned scale, is taken at its current value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from energydiag.models.activations import ACTIVATIONS
from energydiag.models.recorded_calls import SHAPE_ONLY, Call, Makers, tensors_of
from energydiag.models.unit_vectors import Geometry, UnitVectors

_DEEPEST = 100
"""Calls that the walk goes back at most; a bound is near the end."""

_OF_FIRST = SHAPE_ONLY | frozenset(
    (
        *("gather", "index_select", "take_along_dim", "repeat", "repeat_interleave"),
        *("chunk", "split", "unbind", "flip", "roll", "dropout", "mean", "amax", "amin", "sort", "topk", "median"),
    )
)
"""Functions whose answers are between the lowest and the highest value of their first argument."""

_OF_ALL = frozenset({"stack", "cat", "concat", "max", "min", "maximum", "minimum", "where"})
"""Functions whose answers are between the lowest and the highest value of all their arguments."""


@dataclass(frozen=True)
class Bound:
    """Lowest and highest value, infinite where there is none.

    Attributes:
        low: Lowest value.
        high: Highest value.
        geometry: What is between the two, see `Geometry`.
    """

    low: float = -math.inf
    high: float = math.inf
    geometry: Geometry = "interval"

    @property
    def finite(self) -> bool:
        """Whether both ends are."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def reach(self, negatives: int) -> float:
        """Highest minus lowest value; of the distance of unit vectors, as far as a batch of negatives can be away.

        The mean square distance of N + 1 unit vectors is at most 2·(1 + 1/N), hence their mean distance at most the
        root of that.
        """
        width = self.high - self.low
        return width * math.sqrt((1 + 1 / negatives) / 2) if self.geometry == "distance" else width


class Bounds:
    """Bounds of the tensors in a forward pass.

    Args:
        calls: In their order.
        inputs: What the module was given; all else that no call made is a constant if it is in ``constants``.
        constants: Parameters and buffers.
    """

    def __init__(self, calls: Sequence[Call], inputs: Collection[Tensor], constants: Collection[Tensor]) -> None:
        self._calls = calls
        self._makers = Makers(calls)
        self.units = UnitVectors(calls, self._makers)
        self._constant = _constant_calls(calls, inputs, constants)
        self._constants = {id(each) for each in constants}
        self._known: dict[tuple[int, int], Bound] = {}

    def of(self, tensor: Any, before: int, depth: int = 0) -> Bound:
        """The bound of a tensor, or number, as it is before a call."""
        if isinstance(tensor, int | float):
            return Bound(float(tensor), float(tensor))
        if not isinstance(tensor, Tensor) or depth > _DEEPEST:
            return Bound()
        place = self._makers.place_of(tensor, before)
        if place is None:
            return _values(tensor) if id(tensor) in self._constants else Bound()
        if self._constant[place]:
            return _values(tensor)
        if (place, id(tensor)) not in self._known:
            self._known[place, id(tensor)] = self._of_call(place, depth + 1)
        return self._known[place, id(tensor)]

    def _of_call(self, place: int, depth: int) -> Bound:
        call = self._calls[place]
        similarity = self.units.similarity(place)
        if similarity is not None:
            return Bound(similarity.low, similarity.high, similarity.geometry)
        name = call.plain_name
        if name in _OF_FIRST:
            return self.of(call.first, place, depth)
        if name in _OF_ALL:
            given = tensors_of((call.args, dict(call.kwargs)))
            return _hull([self.of(each, place, depth) for each in given if each.is_floating_point()])
        if name in ("softmax", "normalize"):
            return Bound(0.0 if name == "softmax" else -1.0, 1.0)
        first = self.of(call.first, place, depth)
        if name == "softplus" and call.option(1, "beta", 1) != 1:
            return Bound(low=0.0)
        if name in _ELEMENTWISE:
            return _ELEMENTWISE[name](first)
        if name == "sum" and isinstance(call.first, Tensor):
            return _scaled(first, call.first.numel() / call.answer.numel())
        if name in _ENDS:
            low, high = _ENDS[name](call)
            if math.isnan(low) or math.isnan(high):
                return Bound()
            return Bound(min(max(first.low, low), high), min(max(first.high, low), high))
        if name == "pow":
            return _power(first, call.option(1, "exponent"))
        if name in _ARITHMETIC and len(call.args) > 1 and call.kwargs.get("alpha", 1) == 1:
            if name == "mul" and call.args[0] is call.args[1]:
                return _power(first, 2)
            return _ARITHMETIC[name](first, self.of(call.args[1], place, depth))
        return Bound()


def _constant_calls(calls: Sequence[Call], inputs: Collection[Tensor], constants: Collection[Tensor]) -> list[bool]:
    """Of every call, whether it depends on no input."""
    varies = dict.fromkeys(map(id, inputs), True) | dict.fromkeys(map(id, constants), False)
    found = []
    for call in calls:
        depends = any(varies.get(id(each), True) for each in tensors_of((call.args, dict(call.kwargs))))
        varies |= dict.fromkeys(map(id, tensors_of(call.answer)), depends)
        found.append(not depends)
    return found


def _values(tensor: Tensor) -> Bound:
    """What is in a tensor now."""
    if not tensor.numel() or tensor.is_complex():
        return Bound()
    values = tensor.detach().double()
    return Bound(float(values.min()), float(values.max()))


def _hull(bounds: Sequence[Bound]) -> Bound:
    if len(bounds) == 1:
        return bounds[0]
    return Bound(min((b.low for b in bounds), default=-math.inf), max((b.high for b in bounds), default=math.inf))


def _scaled(bound: Bound, factor: float) -> Bound:
    if factor == 0:
        return Bound(0.0, 0.0)
    ends = bound.low * factor, bound.high * factor
    return replace(bound, low=min(ends), high=max(ends))


def _added(one: Bound, other: Bound) -> Bound:
    return Bound(one.low + other.low, one.high + other.high, _geometry(one, other))


def _multiplied(one: Bound, other: Bound) -> Bound:
    products = [0.0 if 0 in (a, b) else a * b for a in (one.low, one.high) for b in (other.low, other.high)]
    return Bound(min(products), max(products), _geometry(one, other))


def _divided(one: Bound, other: Bound) -> Bound:
    if other.low <= 0 <= other.high:
        return Bound()
    return _multiplied(one, Bound(1 / other.high, 1 / other.low))


def _geometry(one: Bound, other: Bound) -> Geometry:
    """A number beside it changes nothing of what is between two ends."""
    if other.low == other.high:
        return one.geometry
    return other.geometry if one.low == one.high else "interval"


def _negated(bound: Bound) -> Bound:
    return _scaled(bound, -1.0)


def _absolute(bound: Bound) -> Bound:
    ends = abs(bound.low), abs(bound.high)
    return Bound(0.0 if bound.low <= 0 <= bound.high else min(ends), max(ends))


def _power(bound: Bound, exponent: Any) -> Bound:
    if not isinstance(exponent, int | float) or exponent <= 0:
        return Bound()
    if exponent % 2 == 0:
        bound = _absolute(bound)
    if bound.low < 0:
        return Bound()
    return _rising(lambda ends: ends**exponent)(bound)


def _rising(value: Callable[[Tensor], Tensor]) -> Callable[[Bound], Bound]:
    """Of a function that never falls."""

    def bound_of(bound: Bound) -> Bound:
        ends = value(torch.tensor([bound.low, bound.high], dtype=torch.float64)).tolist()
        return Bound(*ends) if not any(map(math.isnan, ends)) else Bound()

    return bound_of


_ELEMENTWISE: Mapping[str, Callable[[Bound], Bound]] = {
    **{name: _rising(activation.value) for name, activation in ACTIVATIONS.items() if name != "hardtanh"},
    "sqrt": lambda bound: _power(bound, 0.5),
    "log1p": lambda bound: _rising(torch.log1p)(bound) if bound.low >= 0 else Bound(),
    "softsign": _rising(lambda u: u.sign() * (1 - 1 / (1 + u.abs()))),
    "atan": _rising(torch.atan),
    "relu6": _rising(lambda u: u.clamp(0, 6)),
    "erf": _rising(torch.erf),
    "sin": lambda _: Bound(-1.0, 1.0),
    "cos": lambda _: Bound(-1.0, 1.0),
    "neg": _negated,
    "negative": _negated,
    "abs": _absolute,
    "square": lambda bound: _power(bound, 2),
    **{
        name: lambda _: Bound(low=0.0)
        for name in ("norm", "linalg_norm", "linalg_vector_norm", "cdist", "pairwise_distance")
    },
}

_ARITHMETIC: Mapping[str, Callable[[Bound, Bound], Bound]] = {
    **dict.fromkeys(("add", "radd", "iadd"), _added),
    **dict.fromkeys(("sub", "subtract", "isub"), lambda one, other: _added(one, _negated(other))),
    "rsub": lambda one, other: _added(_negated(one), other),
    **dict.fromkeys(("mul", "multiply", "rmul", "imul"), _multiplied),
    **dict.fromkeys(("div", "divide", "truediv", "true_divide", "idiv", "itruediv"), _divided),
    **dict.fromkeys(("rdiv", "rtruediv"), lambda one, other: _divided(other, one)),
}


def _end(value: Any, otherwise: float) -> float:
    """A number as a call was given it; NaN, which bounds nothing, where it is a tensor of several."""
    if isinstance(value, Tensor) and value.numel() != 1:
        return math.nan
    return otherwise if value is None else float(value)


def _clamp_ends(call: Call) -> tuple[float, float]:
    return _end(call.option(1, "min"), -math.inf), _end(call.option(2, "max"), math.inf)


_ENDS: Mapping[str, Callable[[Call], tuple[float, float]]] = {
    "clamp": _clamp_ends,
    "clip": _clamp_ends,
    "clamp_min": lambda call: (_end(call.option(1, "min"), -math.inf), math.inf),
    "clamp_max": lambda call: (-math.inf, _end(call.option(1, "max"), math.inf)),
    "hardtanh": lambda call: (_end(call.option(1, "min_val"), -1.0), _end(call.option(2, "max_val"), 1.0)),
}
"""Ends that a call cuts its input off at."""
