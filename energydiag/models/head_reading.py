"""Finds the activation that produces the energy by watching one forward pass, whatever the module calls it.

The calls between the network's last layer and the energy are scalings, shifts, averages, changes of shape and at
most one activation. Walking back from the energy through them gives ``E = scale · φ(inner_scale · r + inner_offset)
+ offset`` and the raw value r, for built-in and for user-written modules alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from energydiag.models.activations import ACTIVATIONS, Activation, soft_clipped
from energydiag.models.bounds import Bound, Bounds
from energydiag.models.energy_function import EnergyFunction
from energydiag.models.recorded_calls import SHAPE_ONLY, Call, Recorder, activation_name, function_name
from energydiag.models.unit_vectors import SIMILARITIES
from energydiag.objectives import infonce_floor

UNSEEN = "compiled code"

_POOLS = frozenset({"mean", "sum"})
_CURVED = frozenset(
    (
        *("pow", "square", "sqrt", "rsqrt", "abs", "exp", "log", "log1p", "expm1", "sin", "cos", "erf"),
        *("clamp", "clip", "minimum", "maximum", "where", "elu", "selu", "celu", "gelu", "silu", "mish"),
        *("leaky_relu", "relu6", "hardtanh", "hardswish", "softplus", "softsign", "sigmoid", "tanh", "relu"),
        *(
            "norm",
            "linalg_norm",
            "linalg_vector_norm",
            "cdist",
            "cosine_similarity",
            "logsumexp",
            "softmax",
            "log_softmax",
        ),
    )
)
"""Functions that bend the energy; where the walk back ends at one, its slope is not known."""
_DATA_DEPENDENT = "a bounded value times a scale that depends on the input"
_SAME_ARITHMETIC = {"multiply": "mul", "subtract": "sub", "divide": "div", "true_divide": "div", "idiv": "div"}


@dataclass(frozen=True)
class HeadReading:
    """The end of an energy function, as it was seen at work.

    Attributes:
        activation: The activation φ, or None where the energy is linear in the raw value.
        scale: Factor after the activation (sign included).
        offset: Shift after the activation.
        inner_scale: Factor between raw value and activation.
        inner_offset: Shift between raw value and activation.
        pooled: Where the steps are averaged: ``"before"`` or ``"after"`` the activation, over the ``"features"`` that
            the submodule is given, or ``"none"``.
        module: Name of the submodule whose output is the raw value; empty where none is.
        call: Which of the calls of the activation's ``function`` in one forward pass it is, from 0.
        stopped_at: What is at the end and has no slope that is known: a function that bends the energy, the cosine or
            the distance of two unit vectors, or `UNSEEN` where the energy came out of code that cannot be watched.
        bound: Lowest and highest energy where no activation tells them.
    """

    activation: Activation | None
    scale: float = 1.0
    offset: float = 0.0
    inner_scale: float = 1.0
    inner_offset: float = 0.0
    pooled: str = "none"
    module: str = ""
    call: int = -1
    stopped_at: str = ""
    bound: Bound | None = None

    @property
    def energy_range(self) -> tuple[float, float] | None:
        """Lowest and highest energy that the head can give, or None where it is unbounded."""
        if self.activation is None or not self.activation.bounded:
            return None if self.bound is None else (self.bound.low, self.bound.high)
        ends = (
            self.scale * self.activation.low + self.offset,
            self.scale * self.activation.high + self.offset,
        )
        return min(ends), max(ends)

    def floor(self, negatives: int, tau: float) -> float:
        """The lowest InfoNCE among in-batch negatives that the head's range allows; 0 for an unbounded head."""
        if self.bound is not None:
            reach = self.bound.reach(negatives) / tau
            return infonce_floor(negatives, reach, cosine=self.bound.geometry == "cosine")
        limits = self.energy_range
        return infonce_floor(negatives, math.inf if limits is None else (limits[1] - limits[0]) / tau)

    def describe(self) -> str:
        """The energy as a formula, in words a user can check against the code."""
        between = "" if self.bound is None else f", between {self.bound.low:.4g} and {self.bound.high:.4g}"
        if self.stopped_at in SIMILARITIES:
            pooled = ", averaged over the steps" if self.pooled == "before" else ""
            return f"energy = {_affine(self.stopped_at, self.scale, self.offset)}{pooled}{between}"
        if self.stopped_at:
            unknown = "slope and range are" if self.bound is None else "slope is"
            return f"energy ends in `{self.stopped_at}`, whose {unknown} not known here{between}"
        if self.activation is None:
            formula = _affine("raw", self.scale, self.offset)
        else:
            inner = self.activation.inner_text.format(_affine("raw", self.inner_scale, self.inner_offset))
            formula = _affine(f"{self.activation.outer}({inner})", self.scale, self.offset)
        order = {"before": ", raw averaged over the steps first", "after": ", averaged over the steps"}
        origin = f"; raw from `{self.module}`" if self.module else ""
        origin += ", which is given features averaged over the steps" if self.pooled == "features" else ""
        return f"energy = {formula}{order.get(self.pooled, '')}{origin}{between}"


def _affine(inner: str, scale: float, offset: float) -> str:
    text = inner if scale == 1 else f"-{inner}" if scale == -1 else f"{scale:g}·{inner}"
    return text if offset == 0 else f"{text} {'+' if offset > 0 else '-'} {abs(offset):g}"


def _constant(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, Tensor) and value.numel() == 1:
        return float(value.detach())
    return None


@dataclass(frozen=True)
class _Step:
    """One call undone: ``output = scale · source + offset``, perhaps averaged."""

    source: Tensor
    scale: float = 1.0
    offset: float = 0.0
    pools: bool = False


def _undo(call: Call, made: Mapping[int, Call]) -> _Step | None:
    """The affine or shape step that this call is, or None where it is something else."""
    name = _SAME_ARITHMETIC.get(call.plain_name, call.plain_name)
    first = call.first
    if name in SHAPE_ONLY and isinstance(first, Tensor):
        return _Step(first)
    if name in _POOLS and isinstance(first, Tensor):
        factor = first.numel() / call.answer.numel() if name == "sum" else 1.0
        return _Step(first, scale=factor, pools=factor != 1.0 or first.numel() != call.answer.numel())
    if name in {"neg", "negative"} and isinstance(first, Tensor):
        return _Step(first, scale=-1.0)
    if name not in {"add", "radd", "iadd", "sub", "rsub", "isub", "mul", "rmul", "imul", "div", "truediv"}:
        return None
    if len(call.args) < 2 or call.kwargs.get("alpha", 1) != 1:
        return None
    return _undo_arithmetic(name, call.args[0], call.args[1], made)


def _undo_arithmetic(name: str, left: Any, right: Any, made: Mapping[int, Call]) -> _Step | None:
    reverse = name.startswith("r")
    if _rank(right, made) > _rank(left, made):
        left, right, reverse = right, left, not reverse
    value = _constant(right)
    if value is None or not isinstance(left, Tensor) or _rank(left, made) == _rank(right, made):
        return None
    if name.endswith("add"):
        return _Step(left, offset=value)
    if name.endswith("sub"):
        return _Step(left, scale=-1.0, offset=value) if reverse else _Step(left, offset=-value)
    if name.endswith("mul"):
        return _Step(left, scale=value)
    return None if reverse or value == 0 else _Step(left, scale=1.0 / value)


def _rank(value: Any, made: Mapping[int, Call]) -> int:
    """How sure it is that a value is the one that depends on the samples, and not a constant beside it."""
    if not isinstance(value, Tensor):
        return 0
    if value.numel() == 1:
        return 2 if id(value) in made else 1
    return 3 if id(value) in made else 2


def _activation_of(call: Call) -> Activation | None:
    name = activation_name(call.name)
    first = tuple(call.args[1:3])
    if name == "softplus" and (first[:1] not in ((), (1,)) or call.kwargs.get("beta", 1) != 1):
        return None
    if name == "hardtanh":
        ends = (
            *first,
            *(call.kwargs.get(end, default) for end, default in (("min_val", -1), ("max_val", 1))[len(first) :]),
        )
        if ends != (-1, 1):
            return None
    return ACTIVATIONS.get(name)


def read_head(
    energy: EnergyFunction, hidden_BSD: Tensor, actions_BHA: Tensor, pad_mask_BS: Tensor | None
) -> HeadReading:
    """What stands between the raw output and the energy.

    Args:
        energy: The function to watch.
        hidden_BSD: Contexts of at least one sample.
        actions_BHA: One action chunk per context.
        pad_mask_BS: True where a context token is hidden.

    Returns:
        The reading; ``activation`` is None where no known activation stands at the end.
    """
    outputs: dict[int, tuple[str, Any]] = {}
    kept: list[object] = []

    def remember(name: str) -> Callable[..., None]:
        def hook(_module: object, inputs: tuple[Any, ...], output: object) -> None:
            if isinstance(output, Tensor):
                # the innermost module is called first; an outer one overwrites it
                outputs[id(output)] = name, inputs[0] if inputs else None
                kept.append((inputs, output))

        return hook

    hooks = [
        module.register_forward_hook(remember(name))
        for name, module in energy.module.named_modules()
        if name and not isinstance(module, torch.jit.ScriptModule)  # compiled ones take no hooks
    ]
    recorder = Recorder()
    try:
        with torch.no_grad(), energy.failures(hidden_BSD, actions_BHA, pad_mask_BS), recorder:
            answer = energy(hidden_BSD, actions_BHA, pad_mask_BS)
    finally:
        for hook in hooks:
            hook.remove()
    inputs = [each for each in (hidden_BSD, actions_BHA, pad_mask_BS) if each is not None]
    bounds = Bounds(recorder.calls, inputs, [*energy.module.parameters(), *energy.module.buffers()])
    return _walk_back(answer, recorder.calls, outputs, bounds)


def _walk_back(
    answer: Tensor, calls: Sequence[Call], outputs: Mapping[int, tuple[str, Any]], bounds: Bounds
) -> HeadReading:
    made = {id(call.answer): call for call in calls if isinstance(call.answer, Tensor)}
    reading = HeadReading(activation=None)
    current = answer
    for place, call in reversed(list(enumerate(calls))):
        if call.answer is not current:
            continue
        similarity = bounds.units.similarity(place)
        if similarity is not None:
            reading = _compose(reading, _Step(current, scale=similarity.unit))
            reading = reading if reading.activation else replace(reading, stopped_at=similarity.name)
            break
        step = _undo(call, made)
        if step is not None:
            reading = _compose(reading, step)
            current = step.source
            continue
        activation = _activation_of(call) if reading.activation is None else _clipped(reading, call)
        if activation is None:
            if reading.activation is None:
                reading = replace(reading, stopped_at=_stop(call, place, bounds))
            break
        index = next(i for i, other in enumerate(_of_function(calls, activation.function)) if other is call)
        reading = replace(
            reading,
            activation=activation,
            call=index,
            inner_scale=1.0,
            pooled="after" if reading.pooled == "before" else reading.pooled,
        )
        current = call.first
    else:
        # what compiled code does is not seen, so nothing can be said of what stands before it
        reading = replace(reading, activation=None, stopped_at=UNSEEN)
    bound = bounds.of(answer, len(calls))
    if bound.finite and (reading.activation is None or not reading.activation.bounded):
        at_end = reading.stopped_at or ("" if reading.activation else _name_of_maker(current, calls))
        reading = replace(reading, bound=bound, stopped_at=at_end)
    module, given = outputs.get(id(current), ("", None))
    pooled = "features" if reading.pooled == "none" and _is_average(given, calls, made) else reading.pooled
    return replace(reading, module=module, pooled=pooled)


def _stop(call: Call, place: int, bounds: Bounds) -> str:
    """What to call the function at which the walk stops, if the energy is not linear in what it returns."""
    name = call.plain_name
    if name in _CURVED:
        return name
    if name in ("mul", "multiply", "div", "divide", "true_divide"):
        factors = [bounds.of(each, place) for each in call.args[:2]]
        if any(one.finite and one.geometry != "interval" for one in factors):
            return _DATA_DEPENDENT
        if any(one.finite for one in factors) and any(one.low >= 0 and not one.finite for one in factors):
            return _DATA_DEPENDENT
    return ""


def _name_of_maker(current: Tensor, calls: Sequence[Call]) -> str:
    return next((call.plain_name for call in reversed(calls) if call.answer is current), UNSEEN)


def _of_function(calls: Sequence[Call], function: str) -> list[Call]:
    return [call for call in calls if activation_name(call.name) == function]


def _clipped(reading: HeadReading, call: Call) -> Activation | None:
    """The reading's activation behind a soft clip ``c·tanh(u)``, if that is what this call makes of it."""
    if reading.activation is None or activation_name(call.name) != "tanh":
        return None
    if reading.inner_offset != 0 or reading.pooled == "before":  # an average stands between the two
        return None
    return soft_clipped(reading.activation, reading.inner_scale) if reading.inner_scale > 0 else None


def _is_average(value: Any, calls: Sequence[Call], made: Mapping[int, Call]) -> bool:
    """Whether a tensor came from an average or a sum over several others by changes of shape alone."""
    for call in reversed(calls):
        if call.answer is not value or not isinstance(value, Tensor):
            continue
        step = _undo(call, made)
        if step is None or step.pools:
            return step is not None
        value = step.source
    return False


def _compose(reading: HeadReading, step: _Step) -> HeadReading:
    """Puts one more affine step between the raw value and what has been read so far."""
    pooled = "before" if step.pools and reading.pooled == "none" else reading.pooled
    if reading.activation is None:
        return replace(
            reading,
            scale=reading.scale * step.scale,
            offset=reading.offset + reading.scale * step.offset,
            pooled=pooled,
        )
    return replace(
        reading,
        inner_scale=reading.inner_scale * step.scale,
        inner_offset=reading.inner_offset + reading.inner_scale * step.offset,
        pooled=pooled,
    )


class ActivationProbe(TorchFunctionMode):
    """While active, keeps the input of the activation that produces the energy, or of its soft clip.

    Args:
        reading: Which activation, and which of its calls in a forward pass.
    """

    def __init__(self, reading: HeadReading) -> None:
        super().__init__()
        self._reading = reading
        self._seen = 0
        self.activation_input: Tensor | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = function_name(func)
        activation = self._reading.activation
        if activation is not None and activation_name(name) == activation.function:
            if self._seen == self._reading.call:
                value: Tensor = args[0] if args else (kwargs or {})["input"]
                self.activation_input = value.clone()  # the call may be in place
            self._seen += 1
        return func(*args, **(kwargs or {}))


def with_activation_input(
    energy: EnergyFunction, reading: HeadReading
) -> Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, ...]]:
    """The energies of rows ``[n]``, and what their activation was given ``[n, …]``, where there is one and it ran."""

    def energies(hidden: Tensor, actions: Tensor, mask: Tensor | None) -> tuple[Tensor, ...]:
        if reading.activation is None:
            return (energy(hidden, actions, mask),)
        with ActivationProbe(reading) as probe:
            energy_n = energy(hidden, actions, mask)
        if probe.activation_input is None:
            return (energy_n,)
        return energy_n, probe.activation_input.reshape(hidden.shape[0], -1)

    return energies
