"""Vectors that a forward pass has divided by their own norm, and what is computed of two of them.

An energy of such vectors is bounded although no activation is at its end: a cosine is between −1 and 1, the distance of
two unit vectors between 0 and 2. All negatives of a batch cannot be at that end at once, which gives InfoNCE another
floor than the range alone does (`energydiag.objectives.infonce_floor`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from energydiag.models.recorded_calls import SHAPE_ONLY, Call, Makers

COSINE, DISTANCE, SQUARED = "cosine", "distance of unit vectors", "squared distance of unit vectors"
SIMILARITIES = frozenset({COSINE, DISTANCE, SQUARED})
"""What energies of two unit vectors are called."""

Geometry = Literal["interval", "cosine", "distance"]
"""What is between two ends: anything, the product of two unit vectors, or their distance."""

_SAME_LENGTH = 1e-3
"""Relative difference of norms up to which they are one."""

_ROUNDING = 1e-5

_NORMS = frozenset({"norm", "linalg_norm", "linalg_vector_norm"})
_KEEPS_NORM = frozenset({"clamp", "clamp_min", "clip", "maximum", "max", "add", "where"})
"""What guards a norm against division by zero."""

_PRODUCTS = frozenset({"matmul", "mm", "bmm", "mv", "rmatmul"})
_LAST_DIMENSION = frozenset({"linear", "inner", "linalg_vecdot", "dot", "vdot"})


@dataclass(frozen=True)
class Similarity:
    """What a call computes of two vectors of fixed norms.

    Attributes:
        name: One of `SIMILARITIES`.
        unit: Its value for vectors of norm 1 has to be multiplied by this.
        low: Its lowest value.
        high: Its highest.
        geometry: See `Geometry`; a squared distance is a cosine, scaled and shifted.
    """

    name: str
    low: float
    high: float
    geometry: Geometry
    unit: float = 1.0


class UnitVectors:
    """Finds them among the calls of a forward pass.

    Args:
        calls: In their order.
        makers: Of the tensors in them.
    """

    def __init__(self, calls: Sequence[Call], makers: Makers) -> None:
        self._calls, self._makers = calls, makers

    def similarity(self, place: int) -> Similarity | None:
        """What this call computes of two normalized vectors, or None where it does something else."""
        call = self._calls[place]
        name = call.plain_name
        if name == "cosine_similarity":
            return Similarity(COSINE, -1.0, 1.0, "cosine")
        if name == "cdist" or name == "pairwise_distance":
            other = call.option(1, "x2")
            return None if call.option(2, "p", 2) != 2 else _distance(*self._norms(call.first, other, place, -1, -1))
        if name in _NORMS and call.option(1, "ord", call.kwargs.get("p")) in (None, 2, 2.0, "fro"):
            return _distance(*self._norms_in(call, call.first, place, {"sub"}))
        if name in ("sum", "mean"):
            product = _product(*self._root_mean_squares(call, call.first, place, {"mul"}))
            return product or self._squared_distance(call, place)
        dimensions = _contracted(name, call)
        if dimensions is None:
            return None
        left, right = (call.args[1], call.args[2]) if name == "einsum" else (call.first, call.option(1, "weight"))
        return _product(*self._norms(left, right, place, *dimensions))

    def _squared_distance(self, call: Call, place: int) -> Similarity | None:
        squares = self._maker(call.first, place)
        if squares is None or not _is_square(self._calls[squares]):
            return None
        left, right = self._root_mean_squares(call, self._calls[squares].first, squares, {"sub"})
        if left is None or right is None:
            return None
        return Similarity(SQUARED, (left - right) ** 2, (left + right) ** 2, "cosine", left * right)

    def _norms(
        self, left: Any, right: Any, place: int, left_dim: int | list[int], right_dim: int | list[int]
    ) -> tuple[float | None, float | None]:
        """Norms of two operands over these dimensions."""
        return self._norm(left, place, left_dim), self._norm(right, place, right_dim)

    def _norm(self, value: Any, place: int, dimensions: int | list[int]) -> float | None:
        if not isinstance(value, Tensor) or not self._is_normalized(value, place):
            return None
        return self._one(value, torch.linalg.vector_norm(value.detach().double(), dim=dimensions), place)

    def _norms_in(self, call: Call, value: Any, place: int, names: set[str]) -> tuple[float | None, float | None]:
        """Norms, as the call computes them, of the two operands of the call before it."""

        def norm(operand: Tensor) -> Tensor:
            found: Tensor = call.function(operand, *call.args[1:], **_without_input(call))
            return found

        return self._of_operands(value, place, names, norm)

    def _root_mean_squares(
        self, call: Call, value: Any, place: int, names: set[str]
    ) -> tuple[float | None, float | None]:
        """Roots of what the call, a sum or a mean, gives for the squares of the two operands of the call before it."""

        def root(operand: Tensor) -> Tensor:
            found: Tensor = call.function(operand.square(), *call.args[1:], **_without_input(call))
            return found.sqrt()

        return self._of_operands(value, place, names, root)

    def _of_operands(self, value: Any, place: int, names: set[str], norm: Any) -> tuple[float | None, float | None]:
        before = self._maker(value, place)
        if before is None:
            return None, None
        call = self._calls[before]
        name = call.plain_name
        operands = [each for each in call.args[:2] if isinstance(each, Tensor)]
        if name not in names or len(operands) < 2 or not all(self._is_normalized(each, before) for each in operands):
            return None, None
        wide = (each.detach().double().expand_as(call.answer) for each in operands)
        left, right = (self._one(each, norm(full), before) for each, full in zip(operands, wide, strict=True))
        return left, right

    def _one(self, value: Tensor, norms: Tensor, place: int) -> float | None:
        """The one norm that all vectors have; what was divided by the norm of a whole batch has at most that."""
        largest = float(norms.max())
        if float(norms.max() - norms.min()) <= _SAME_LENGTH * largest:
            rounded = round(largest, 3)
            return rounded if math.isclose(rounded, largest, rel_tol=_ROUNDING) else largest
        whole = float(torch.linalg.vector_norm(value.detach().double()))
        return whole if self._is_normalized(value, place, over_all=True) else None

    def _is_normalized(self, value: Tensor, before: int, *, over_all: bool = False) -> bool:
        """Whether a tensor was divided by its own norm; ``over_all``: by one norm of everything in it."""
        place = self._maker(value, before)
        if place is None:
            return False
        call = self._calls[place]
        name = call.plain_name
        if name == "normalize":
            return not over_all and call.option(1, "p", 2) == 2
        if name in SHAPE_ONLY:
            return isinstance(call.first, Tensor) and self._is_normalized(call.first, place, over_all=over_all)
        if name not in ("div", "truediv", "true_divide", "mul") or not isinstance(call.first, Tensor):
            return False
        divisor = call.option(1, "other")
        if not isinstance(divisor, Tensor):
            return self._is_normalized(call.first, place, over_all=over_all)
        if over_all and divisor.numel() > 1:
            return False
        is_own = self._is_norm(divisor, call.first, place, inverse=name == "mul")
        return is_own or (divisor.numel() == 1 and self._is_normalized(call.first, place, over_all=over_all))

    def _is_norm(self, value: Tensor, of: Tensor, before: int, *, inverse: bool) -> bool:
        """Whether a tensor is the norm of another one, or its inverse."""
        place = self._maker(value, before)
        if place is None:
            return False
        call = self._calls[place]
        name = call.plain_name
        if name in SHAPE_ONLY or name in _KEEPS_NORM:
            operands = [each for each in call.args if isinstance(each, Tensor)]
            return any(self._is_norm(each, of, place, inverse=inverse) for each in operands)
        if inverse and name in ("rdiv", "rtruediv", "reciprocal"):
            return self._is_norm(call.first, of, place, inverse=False)
        if not inverse and name in _NORMS:
            return self._is_same(call.first, of, place, before)
        exponent = call.option(1, "exponent") if name == "pow" else {"sqrt": 0.5, "rsqrt": -0.5}.get(name)
        if exponent != (-0.5 if inverse else 0.5):
            return False
        return self._is_sum_of_squares(call.first, of, place, before)

    def _is_sum_of_squares(self, value: Any, of: Tensor, before: int, of_before: int) -> bool:
        place = self._maker(value, before)
        if place is None:
            return False
        call = self._calls[place]
        name = call.plain_name
        if name in _KEEPS_NORM:
            return self._is_sum_of_squares(call.first, of, place, of_before)
        squares = self._maker(call.first, place) if name == "sum" else None
        if squares is None or not _is_square(self._calls[squares]):
            return False
        return self._is_same(self._calls[squares].first, of, squares, of_before)

    def _is_same(self, one: Any, other: Tensor, one_before: int, other_before: int) -> bool:
        return self._root(one, one_before) is self._root(other, other_before)

    def _root(self, value: Any, before: int) -> Any:
        """What a tensor was before its shape was changed."""
        place = self._maker(value, before)
        if place is None or self._calls[place].plain_name not in SHAPE_ONLY:
            return value
        return self._root(self._calls[place].first, place)

    def _maker(self, value: Any, before: int) -> int | None:
        return self._makers.place_of(value, before) if isinstance(value, Tensor) else None


def _is_square(call: Call) -> bool:
    name = call.plain_name
    if name == "mul":
        return len(call.args) > 1 and call.args[0] is call.args[1]
    return name == "square" or (name == "pow" and call.option(1, "exponent") == 2)


def _without_input(call: Call) -> dict[str, Any]:
    return {name: value for name, value in call.kwargs.items() if name != "input"}


def _product(left: float | None, right: float | None) -> Similarity | None:
    if left is None or right is None:
        return None
    return Similarity(COSINE, -left * right, left * right, "cosine", left * right)


def _distance(left: float | None, right: float | None) -> Similarity | None:
    if left is None or right is None:
        return None
    geometry: Geometry = "distance" if math.isclose(left, right, rel_tol=_SAME_LENGTH) else "interval"
    return Similarity(DISTANCE, abs(left - right), left + right, geometry, left)


def _contracted(name: str, call: Call) -> tuple[int | list[int], int | list[int]] | None:
    """The dimensions over which a product sums, of its left and of its right operand."""
    if name in _PRODUCTS and len(call.args) > 1:
        return -1, -2 if call.args[1].dim() > 1 else -1
    if name in _LAST_DIMENSION:
        dimension = call.kwargs.get("dim", -1)
        return dimension, dimension
    if name == "einsum" and len(call.args) == 3 and isinstance(call.args[0], str):
        inputs, _, output = call.args[0].replace(" ", "").partition("->")
        left, _, right = inputs.partition(",")
        if "." in inputs or not right or "->" not in call.args[0]:
            return None
        return _missing(left, output), _missing(right, output)
    return None


def _missing(letters: str, output: str) -> list[int]:
    return [place for place, letter in enumerate(letters) if letter not in output]
