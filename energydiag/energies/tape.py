"""A sequence of tensor operations, written down as they reach the kernels, that can be done again with other tensors.

Tensors are told apart by their storage and their place in it, and are held only where they are kept: writing down takes
no memory. Views, however many follow each other, become one: a part of what had the memory first.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from energydiag.energies.operations import is_plain, is_repeatable, tensors_in


@dataclass(frozen=True)
class _At:
    """Stands in an operation's arguments for the tensor of this number."""

    number: int


@dataclass(frozen=True)
class _Step:
    """One operation.

    Attributes:
        operation: What is called.
        args: With tensors as `_At`.
        kwargs: The same by name.
        used: Numbers of the tensors among the arguments.
        made: Numbers of the tensors in its answer, in their order.
        kept: Whether its answer is at hand: it came from what stays the same.
    """

    operation: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    used: tuple[int, ...]
    made: tuple[int, ...]
    kept: bool


class _Storage(weakref.ref[torch.UntypedStorage]):
    """Memory that tensors lie in, not held: who had it first, and the numbers of all by their place in it."""

    __slots__ = ("address", "changed", "dtype", "first", "numbers", "offset")

    def __init__(self, memory: torch.UntypedStorage, gone: Callable[[_Storage], object]) -> None:
        super().__init__(memory, gone)  # type: ignore[call-arg]
        self.address = memory._cdata
        self.first = -1
        self.offset = 0
        self.dtype = torch.uint8
        self.changed = False
        self.numbers: dict[Hashable, int] = {}


class Tape:
    """Steps that make the answers from other tensors of the same shapes, strides, types and device.

    Run it without gradients: what it makes has no history.
    """

    def __init__(
        self, steps: Sequence[_Step], given: Sequence[int], answers: Sequence[int], kept: Mapping[int, Tensor]
    ) -> None:
        last = {number: place for place, step in enumerate(steps) for number in (*step.used, *step.made)}
        self._given, self._answers = given, answers
        self._kept = {number: tensor for number, tensor in kept.items() if number in last or number in answers}
        done: list[list[int]] = [[] for _ in steps]
        for number in last.keys() - self._kept.keys() - set(answers):
            done[last[number]].append(number)
        self._steps = list(zip(steps, done, strict=True))

    def run(self, given: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The answers for these tensors, which take the places of those that were given to the `Recorder`."""
        here = dict(zip(self._given, given, strict=True)) | self._kept
        device = given[0].device.type
        if torch.is_autocast_enabled(device):  # its conversions are among the steps
            with torch.autocast(device, enabled=False):
                return self._run(here)
        return self._run(here)

    def _run(self, here: dict[int, Tensor]) -> tuple[Tensor, ...]:
        for step, done in self._steps:
            answer = step.operation(
                *[_filled(value, here) for value in step.args],
                **{name: _filled(value, here) for name, value in step.kwargs.items()},
            )
            if isinstance(answer, Tensor):
                here[step.made[0]] = answer
            else:
                here.update(zip(step.made, tensors_in(answer), strict=True))
            del answer  # or it would be alive beside the next one
            for number in done:
                del here[number]
        return tuple(here[number] for number in self._answers)


def _filled(value: Any, here: Mapping[int, Tensor]) -> Any:
    if type(value) is _At:
        return here[value.number]
    if type(value) is list or type(value) is tuple:
        return type(value)(_filled(each, here) for each in value)
    return value


def _part(whole: Tensor, shape: tuple[int, ...], stride: tuple[int, ...], start: int) -> Tensor:
    """A part of a tensor's memory, from ``start`` elements after its first."""
    return whole.as_strided(shape, stride, whole.storage_offset() + start)


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down the operations that are done while it is active."""

    def __init__(self, varying: Sequence[Tensor], limit: int | None = None) -> None:
        """Begins.

        Args:
            varying: What is another one each time. Every other tensor that an operation meets is taken to stay what
                it is, and what comes from those alone is kept.
            limit: Bytes that may be kept; None: all.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self._left = limit
        self._steps: list[_Step] = []
        self._storages: dict[int, _Storage] = {}  # by address, of those that are alive
        self._storage_of: list[_Storage] = []  # by number
        self._kept: dict[int, Tensor] = {}
        self._usable = all(map(_is_readable, varying))
        self._given = [self._new(tensor, _place(tensor)) for tensor in varying] if self._usable else []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: it would load the whole compiler, a second, and stand before every operation."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if func.is_view or not self._usable:  # a view is a place in memory, and seen as such where it is used
            return func(*args, **named)
        used: list[int] = []
        told = self._told(args, used)
        told_named = {name: self._told(value, used) for name, value in named.items()} if named else {}
        answer = func(*args, **named)
        found = tensors_in(answer)
        keeps = self._kept.keys() >= set(used) and is_repeatable(func, args, named)
        if not self._usable or not all(map(_is_readable, found)) or (_asks_for_values(func) and not keeps):
            self._usable = False
            return answer
        if func._schema.is_mutable:
            for number in used:
                self._storage_of[number].changed = True
        keeps = keeps and self._has_room(found)
        made = tuple([self._new(tensor, _place(tensor)) for tensor in found])
        if keeps:
            self._kept.update(zip(made, found, strict=True))
        self._steps.append(_Step(func, told, told_named, tuple(used), made, keeps))
        return answer

    def tape(self, answers: Sequence[Tensor]) -> Tape | None:
        """What was written down, to make these answers; None where it cannot be done again."""
        wanted: list[int] = []
        if self._usable:
            self._told(answers, wanted)
        if not self._usable:
            return None
        steps, anew = [], set(self._given)
        for step in self._steps:
            changed = any(self._storage_of[number].changed for number in (*step.used, *step.made))
            if step.kept and not changed and anew.isdisjoint(step.used):
                continue
            steps.append(step)
            anew.update(step.made)
        return Tape(steps, self._given, wanted, {n: t for n, t in self._kept.items() if n not in anew})

    def _told(self, value: Any, used: list[int]) -> Any:
        """An argument with tensors as `_At`, whose numbers are added to those used."""
        if isinstance(value, Tensor):
            number = self._number(value)
            used.append(number)
            return _At(number)
        if isinstance(value, list | tuple):
            return type(value)([self._told(each, used) for each in value])
        return value

    def _number(self, tensor: Tensor) -> int:
        """Of a tensor that was seen before, a part of one, or one that was there before: a weight, a constant."""
        place, storage = _place(tensor), self._storages.get(tensor.untyped_storage()._cdata)
        if not _is_readable(tensor) or (storage is not None and storage.dtype != tensor.dtype):
            self._usable = False
            return -1
        if storage is None:
            number = self._new(tensor, place)
            self._kept[number] = tensor
            return number
        number = storage.numbers.get(place, -1)
        if number < 0:
            number, first = self._new(tensor, place), storage.first
            start, shape, stride, _ = place
            stays = first in self._kept
            if stays:
                self._kept[number] = tensor
            args = _At(first), tuple(shape), stride, start - storage.offset
            self._steps.append(_Step(_part, args, {}, (first,), (number,), stays))
        return number

    def _new(self, tensor: Tensor, place: Hashable) -> int:
        memory, number = tensor.untyped_storage(), len(self._storage_of)
        storage = self._storages.get(memory._cdata)
        if storage is None:
            storage = self._storages[memory._cdata] = _Storage(memory, self._forget)
            storage.first, storage.offset, storage.dtype = number, int(tensor.storage_offset()), tensor.dtype
        self._storage_of.append(storage)
        storage.numbers[place] = number
        return number

    def _forget(self, storage: _Storage) -> None:
        self._storages.pop(storage.address, None)  # addresses are used again

    def _has_room(self, found: Sequence[Tensor]) -> bool:
        if self._left is None:
            return True
        memories = {memory._cdata: memory.nbytes() for memory in (tensor.untyped_storage() for tensor in found)}
        size = sum(memories[address] for address in memories.keys() - self._storages.keys())
        if size > self._left:
            return False
        self._left -= size
        return True


def _place(tensor: Tensor) -> tuple[int, torch.Size, tuple[int, ...], torch.dtype]:
    """Which part of its storage it shows, and as what."""
    return int(tensor.storage_offset()), tensor.shape, tensor.stride(), tensor.dtype


def _is_readable(tensor: Tensor) -> bool:
    """Whether it is what lies in its place: complex numbers may be conjugated on the way."""
    return is_plain(tensor) and not tensor.dtype.is_complex


def _asks_for_values(operation: Any) -> bool:
    """Whether what is done next may depend on what is in the tensors."""
    return torch.Tag.data_dependent_output in operation.tags or torch.Tag.dynamic_output_shape in operation.tags
