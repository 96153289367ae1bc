"""Activations caught at their calls: which they are, and where their inputs hold samples and units.

Calls are seen by a torch function mode, the place by forward hooks. Two tiny passes, with two and with three samples,
tell which dimension of an input the samples are in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from energydiag.batch import Batch
from energydiag.energies.pairs import Pairs
from energydiag.models.energy_function import EnergyFunction
from energydiag.models.head_reading import HeadReading
from energydiag.models.recorded_calls import activation_name
from energydiag.probes.evidence import Evidence

OTHER_CALLS = "the model calls other layers for other samples"

_STEEPEST = {"tanh": 1.0, "sigmoid": 0.25, "hardtanh": 1.0, "hardsigmoid": 1 / 6, "softsign": 1.0}
"""Of the activations that are flat at both ends."""

_ONE_SIDED = frozenset(
    (
        *("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish"),
        *("softplus", "logsigmoid", "threshold"),
    )
)
_CONVOLUTIONS = frozenset(
    f"conv{transposed}{dimensions}d" for transposed in ("", "_transpose") for dimensions in (1, 2, 3)
)


@dataclass(frozen=True)
class Call:
    """One call in a forward pass that is of interest: an activation, or ``linear``, whose input is meant then.

    Attributes:
        name: One name for all spellings of the function.
        place: Path of the innermost module that runs.
        shape: Of the input.
        channels: Which dimension holds the units.
        steepest: The steepest slope of an activation that is flat at both ends, else None.
    """

    name: str
    place: str
    shape: tuple[int, ...]
    channels: int
    steepest: float | None


Seen = Callable[[Call, Tensor, Callable[[Tensor], Tensor]], None]
"""Told the call, its input, and the function of this input that is about to be called."""


class _Watching(TorchFunctionMode):
    """Tells of every call of interest before it is made (it may be in place)."""

    def __init__(self, path: Sequence[str], seen: Seen) -> None:
        super().__init__()
        self._path, self._seen = path, seen
        self._convolved: torch.Size | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        name = activation_name(getattr(func, "__name__", "")).lstrip("_")
        value = args[0] if args else given.get("input")
        if (name in _STEEPEST or name in _ONE_SIDED or name == "linear") and isinstance(value, Tensor):
            further = {key: what for key, what in given.items() if key not in ("input", "out")}
            # a relu6 is a hardtanh to torch, but off below 0, as relus are
            one_sided = name == "hardtanh" and _lower_bound(args, further) == 0
            steepest = None if one_sided else _STEEPEST.get(name)
            channels = 1 if value.shape == self._convolved else value.dim() - 1
            call = Call(name, self._path[-1] if self._path else "", tuple(value.shape), channels, steepest)
            self._seen(call, value, lambda u: func(u, *args[1:], **further))
        answer = func(*args, **given)
        if isinstance(answer, Tensor) and (name in _CONVOLUTIONS or name == "linear"):
            self._convolved = answer.shape if name in _CONVOLUTIONS else None
        return answer


def _lower_bound(args: Sequence[Any], kwargs: Mapping[str, Any]) -> float:
    """Of a hardtanh call."""
    return float(args[1] if len(args) > 1 else kwargs.get("min_val", -1.0))


@contextmanager
def _watching(energy: EnergyFunction, seen: Seen) -> Iterator[None]:
    path: list[str] = []

    def enter(name: str) -> Callable[..., None]:
        return lambda *_: path.append(name)

    def leave(*_: object) -> None:
        path.pop()

    modules = list(energy.module.named_modules())
    hooks = [part.register_forward_pre_hook(enter(name)) for name, part in modules]
    hooks += [part.register_forward_hook(leave) for _, part in modules]
    try:
        with torch.no_grad(), _Watching(path, seen):
            yield
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True)
class Layout:
    """Where a call's input has its samples and its units.

    Attributes:
        call: With the shape that it has for two samples.
        samples: The dimension that grows with the number of samples.
        label: What the layer is called in measurements.
    """

    call: Call
    samples: int
    label: str

    @property
    def width(self) -> int:
        """Number of units."""
        return self.call.shape[self.call.channels]

    def arrange(self, value: Tensor, count: int, most_positions: int) -> Tensor:
        """``[count, P, W]``: samples, at most so many positions spread over all, units.

        Raises:
            ValueError: The shape is not the one that was seen with two samples.
        """
        expected = list(self.call.shape)
        expected[self.samples] = expected[self.samples] // 2 * count
        if list(value.shape) != expected:
            raise ValueError(f"`{self.label}` has another shape for other samples")
        units_last = value.movedim(self.call.channels, -1).movedim(self.samples, 0)
        whole = units_last.reshape(count, -1, self.width)
        positions = whole.shape[1]
        if positions <= most_positions:
            return whole
        return whole[:, torch.linspace(0, positions - 1, most_positions).round().long()]


def layouts(evidence: Evidence) -> list[Layout | None]:
    """Of every call in a forward pass, by running two and three samples; None where it does not follow them.

    A function of a parameter alone is not of the samples: its shape stays.
    """
    calls: dict[int, list[Call]] = {2: [], 3: []}
    for count, seen in calls.items():
        index = torch.arange(count) % len(evidence.batch)

        def note(call: Call, _value: Tensor, _again: Callable[[Tensor], Tensor], to: list[Call] = seen) -> None:
            to.append(call)

        run_watched(evidence, index, index, note)
    if [(c.name, c.place) for c in calls[2]] != [(c.name, c.place) for c in calls[3]]:
        raise ValueError(OTHER_CALLS)
    own = _own(calls[2], evidence.reading)
    labels: Counter[str] = Counter()
    found: list[Layout | None] = []
    for number, (call, other) in enumerate(zip(calls[2], calls[3], strict=True)):
        samples = _growing(call, other)
        if number in own or samples is None:
            found.append(None)
            continue
        name = call.place or "model"
        labels[name] += call.name != "linear"
        found.append(Layout(call, samples, f"{name}#{labels[name]}" if labels[name] > 1 else name))
    return found


def _growing(two: Call, three: Call) -> int | None:
    """The dimension that holds the samples, or None where that is not sure."""
    if len(two.shape) != len(three.shape) or len(two.shape) < 2:
        return None
    other = [d for d, (a, b) in enumerate(zip(two.shape, three.shape, strict=True)) if a != b]
    if len(other) != 1 or other[0] == two.channels or two.shape[other[0]] * 3 != three.shape[other[0]] * 2:
        return None
    return other[0]


def _own(calls: Sequence[Call], reading: HeadReading) -> frozenset[int]:
    """Which calls produce the energy: the activation's, and that of its soft clip."""
    if reading.stopped_at:
        return frozenset([i for i, call in enumerate(calls) if call.name == reading.stopped_at][-1:])
    if reading.activation is None:
        return frozenset()
    same = [i for i, call in enumerate(calls) if call.name == reading.activation.function]
    own = same[reading.call : reading.call + 1] if reading.call >= 0 else []
    after = [i for i, call in enumerate(calls) if call.name == reading.activation.outer and own and i >= own[0]]
    return frozenset((*own, *after[:1]))


def run_watched(evidence: Evidence, contexts: Tensor, actions: Tensor, seen: Seen) -> None:
    """One forward pass of these samples' contexts with those samples' actions."""
    part = evidence.batch.take(contexts)
    taken = evidence.batch.actions[actions]
    energy = evidence.energy
    pairs = Pairs(visible_everywhere(part), taken, part.pad_mask, shared=True).to(energy.device, energy.dtype)
    with _watching(energy, seen):
        energy(pairs.hidden, pairs.actions, pairs.pad_mask)


def visible_everywhere(part: Batch) -> Tensor:
    """The contexts ``[n, S, D]`` with visible tokens, again and again, in the places of hidden ones."""
    if part.pad_mask is None or part.hidden.dim() != 3:
        return part.hidden
    first = torch.argsort(part.pad_mask.int(), dim=1, stable=True)  # visible ones before hidden ones
    place = torch.arange(first.shape[1]) % (~part.pad_mask).sum(dim=1, keepdim=True)
    source = torch.where(part.pad_mask, first.gather(1, place), torch.arange(first.shape[1]))
    return part.hidden.gather(1, source[:, :, None].expand_as(part.hidden))
