"""A sequence of tensor operations, written down as they reach the kernels, that can be done again with other tensors.

Tensors are told apart by their storage and their place in it, and are held only where they are kept. Views, however
many follow each other, become one: a part of what had the memory first.

Refused is what cannot be done again the same way: what looks at values, draws random numbers, changes something that
was there before, turns a tensor in place, or works on more than plain memory (sparse, complex, subclasses).
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Hashable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_iter

from energydiag.energies.operations import (
    OperationsMode,
    asks_for_values,
    draws,
    is_plain,
    is_repeatable,
    makes_memory,
    tensors_in,
)


@dataclass(frozen=True)
class _Numbered:
    """Stands in an operation's arguments for the tensor of this number."""

    number: int


@dataclass(frozen=True)
class _Step:
    """One operation.

    Attributes:
        operation: What is called.
        args: With tensors as `_Numbered`.
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

    __slots__ = ("address", "changed", "dtype", "first", "made_here", "numbers", "offset")

    def __init__(self, memory: torch.UntypedStorage, gone: Callable[[_Storage], object]) -> None:
        super().__init__(memory, gone)  # type: ignore[call-arg]
        self.address = memory._cdata
        self.first = -1
        self.offset = 0
        self.dtype = torch.uint8
        self.changed = False
        self.made_here = False
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
                *[_with_tensors(value, here) for value in step.args],
                **{name: _with_tensors(value, here) for name, value in step.kwargs.items()},
            )
            if isinstance(answer, Tensor):
                here[step.made[0]] = answer
            else:
                here.update(zip(step.made, tensors_in(answer), strict=True))
            del answer  # or it would be alive beside the next one
            for number in done:
                del here[number]
        return tuple(here[number] for number in self._answers)


def _with_tensors(value: Any, here: Mapping[int, Tensor]) -> Any:
    if type(value) is _Numbered:
        return here[value.number]
    if type(value) is list or type(value) is tuple:
        return type(value)(_with_tensors(each, here) for each in value)
    return value


def _part(whole: Tensor, shape: tuple[int, ...], stride: tuple[int, ...], start: int) -> Tensor:
    """A part of a tensor's memory, from ``start`` elements after its first."""
    return whole.as_strided(shape, stride, whole.storage_offset() + start)


class Recorder(OperationsMode):  # type: ignore[no-untyped-call]
    """Writes down the operations that are done while it is active."""

    def __init__(self, varying: Sequence[Tensor], limit: int | None = None) -> None:
        """Begins.

        Args:
            varying: What is another one each time, no two in one storage. Every other tensor that an operation meets
                is taken to stay what it is, and what comes from those alone is kept.
            limit: Bytes that may be kept; None: all.
        """
        super().__init__()
        self.left = limit
        self._steps: list[_Step] = []
        self._storages: dict[int, _Storage] = {}  # by address, of those that are alive
        self._storage_of: list[_Storage] = []  # by number
        self._kept: dict[int, Tensor] = {}
        self._usable = all(map(_is_readable, varying))
        self._given = [self._new(tensor, _place(tensor)) for tensor in varying] if self._usable else []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        answer = func(*args, **named)
        # a view is a place in memory, and seen as such where it is used
        if not self._usable or (func.is_view and not makes_memory(func, args, answer)):
            return answer
        used: list[int] = []
        told = self._with_numbers(args, used)
        told_named = {name: self._with_numbers(value, used) for name, value in named.items()} if named else {}
        found = tensors_in(answer)
        keeps = self._kept.keys() >= set(used) and is_repeatable(func, args, named)
        if torch.Tag.inplace_view in func.tags or draws(func, args, named) or not all(map(_is_readable, found)):
            self._usable = False
        if asks_for_values(func, args) and not keeps:
            self._usable = False
        if not self._usable:
            return answer
        for number in _written(func, told, told_named):
            storage = self._storage_of[number]
            storage.changed = True
            self._usable = self._usable and storage.made_here
        keeps = keeps and self._has_room(found)
        made = tuple([self._new(tensor, _place(tensor), made_here=True) for tensor in found])
        if keeps:
            self._kept.update(zip(made, found, strict=True))
        self._steps.append(_Step(func, told, told_named, tuple(used), made, keeps))
        return answer

    def tape(self, answers: Sequence[Tensor]) -> Tape | None:
        """What was written down, to make these answers; None where it cannot be done again."""
        wanted: list[int] = []
        self._usable = self._usable and not any(answer.requires_grad for answer in answers)
        if self._usable:
            self._with_numbers(answers, wanted)
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

    def _with_numbers(self, value: Any, used: list[int]) -> Any:
        """An argument with tensors as `_Numbered`, whose numbers are added to those used."""
        if isinstance(value, Tensor):
            number = self._number(value)
            used.append(number)
            return _Numbered(number)
        if isinstance(value, list | tuple):
            return type(value)([self._with_numbers(each, used) for each in value])
        return value

    def _number(self, tensor: Tensor) -> int:
        """Of a tensor that was seen before, a part of one, or one that was there before: a weight, a constant."""
        readable = _is_readable(tensor)
        storage = self._storages.get(tensor.untyped_storage()._cdata) if readable else None
        if not readable or (storage is not None and storage.dtype != tensor.dtype):
            self._usable = False
            return -1
        place = _place(tensor)
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
            args = _Numbered(first), tuple(shape), stride, start - storage.offset
            self._steps.append(_Step(_part, args, {}, (first,), (number,), stays))
        return number

    def _new(self, tensor: Tensor, place: Hashable, *, made_here: bool = False) -> int:
        memory, number = tensor.untyped_storage(), len(self._storage_of)
        storage = self._storages.get(memory._cdata)
        if storage is None:
            storage = self._storages[memory._cdata] = _Storage(memory, functools.partial(_forget, self._storages))
            storage.first, storage.offset, storage.dtype = number, int(tensor.storage_offset()), tensor.dtype
            storage.made_here = made_here
        self._storage_of.append(storage)
        storage.numbers[place] = number
        return number

    def _has_room(self, found: Sequence[Tensor]) -> bool:
        if self.left is None:
            return True
        memories = {memory._cdata: memory.nbytes() for memory in (tensor.untyped_storage() for tensor in found)}
        size = sum(nbytes for address, nbytes in memories.items() if address not in self._storages)
        if size > self.left:
            return False
        self.left -= size
        return True


def _forget(storages: MutableMapping[int, _Storage], storage: _Storage) -> None:
    storages.pop(storage.address, None)  # addresses are used again


def _place(tensor: Tensor) -> tuple[int, torch.Size, tuple[int, ...], torch.dtype]:
    """Which part of its storage it shows, and as what."""
    return int(tensor.storage_offset()), tensor.shape, tensor.stride(), tensor.dtype


def _is_readable(tensor: Tensor) -> bool:
    """Whether it is what lies in its place: some numbers change their sign on the way."""
    return is_plain(tensor) and not tensor.dtype.is_complex and not tensor.is_neg()


def _written(operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[int]:
    """Numbers of the tensors that an operation changes."""
    if not operation._schema.is_mutable:
        return []
    parameters = operation._schema.arguments
    given = {**dict(zip((one.name for one in parameters), args, strict=False)), **kwargs}
    changed = [given.get(one.name) for one in parameters if one.alias_info is not None and one.alias_info.is_write]
    return [leaf.number for leaf in tree_iter(changed) if isinstance(leaf, _Numbered)]
