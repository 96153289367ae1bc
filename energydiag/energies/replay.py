"""What one piece of the work took, done again for the others.

`torch.func.vmap` decides for every operation of the model, twice over, how it is done for many: a millisecond for a
piece, whatever its size. Pieces that leave the caches are slower, too. So the operations of the first piece are written
down, and pieces of the same shapes do these again: nothing is decided a second time, and pieces can be small. What came
from the weights, or from arguments that stay the same, is not even computed again.

That is sound where the operations depend on shapes alone. Inside of a map they do: a model that asks for a value raises
there. What reaches no kernel of torch (numbers that pass through numpy, what a module keeps in Python) is not seen;
therefore what is done again is compared, once for a kind of work, with what the function itself answers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, MutableMapping

import torch
from torch import Tensor

from energydiag.energies.operations import geometry
from energydiag.energies.tape import Recorder, Tape

Answers = tuple[Tensor, ...]

_ROUNDINGS = 16
"""How many roundings of the largest number two runs of the same operations may differ by (a guess; on a CPU: none)."""


class Replayed:
    """A function of tensors that is run once for every combination of shapes, and is done again from its tape then.

    Without gradients only: what is done again has no history.
    """

    def __init__(
        self,
        function: Callable[..., Answers],
        varying: Collection[int],
        limit: int | None = None,
        trusted: MutableMapping[Hashable, bool] | None = None,
        kind: Hashable = None,
    ) -> None:
        """Wraps a function.

        Args:
            function: Of tensors, or None, by position; its operations depend on their shapes alone.
            varying: Positions of the arguments that are others each time; what comes from the rest alone is kept.
            limit: Bytes that may be kept; None: all.
            trusted: Whether doing again gave the same, by kind of work; what is not in it is found out and put there.
            kind: Of this function.
        """
        self._function, self._varying, self._left = function, varying, limit
        self._trusted = {} if trusted is None else trusted
        self._kind = kind
        self._tapes: dict[Hashable, tuple[Tape | None, list[Tensor]]] = {}

    def __call__(self, *arguments: Tensor | None) -> Answers:
        """The function's answers."""
        if self._trusted.get(self._kind) is False:
            return self._function(*arguments)
        varying = [a for position, a in enumerate(arguments) if position in self._varying and a is not None]
        key = tuple(None if a is None else self._key(position, a) for position, a in enumerate(arguments))
        if key not in self._tapes:
            return self._recorded(key, varying, arguments)
        tape, _ = self._tapes[key]
        if tape is None:
            return self._function(*arguments)
        if self._trusted.get(self._kind):
            return tape.run(varying)
        answers = self._function(*arguments)
        self._trusted[self._kind] = _does_the_same(tape, varying, answers)
        return answers

    def _recorded(self, key: Hashable, varying: list[Tensor], arguments: tuple[Tensor | None, ...]) -> Answers:
        fixed = [a for position, a in enumerate(arguments) if position not in self._varying and a is not None]
        if _share_memory((*varying, *fixed)):
            self._tapes[key] = None, fixed
            return self._function(*arguments)
        with Recorder(varying, self._left) as recorder:
            answers = self._function(*arguments)
        self._tapes[key] = recorder.tape(answers), fixed  # held, as the key has their addresses
        self._left = recorder.left
        return answers

    def _key(self, position: int, tensor: Tensor) -> Hashable:
        if position in self._varying:
            return tensor.shape, tensor.stride(), tensor.dtype
        return tensor.untyped_storage()._cdata, geometry(tensor)


def _does_the_same(tape: Tape, varying: list[Tensor], answers: Answers) -> bool:
    """Whether a tape gives what the function gave."""
    try:
        found = tape.run(varying)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        return False
    return all(_is_same(one, other) for one, other in zip(found, answers, strict=True))


def _is_same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if not other.is_floating_point() or not other.numel():
        return torch.equal(one, other)
    most = _ROUNDINGS * torch.finfo(other.dtype).eps * float(other.abs().nan_to_num(posinf=0.0).max())
    return torch.allclose(one, other, rtol=0.0, atol=most, equal_nan=True)


def _share_memory(arguments: Iterable[Tensor]) -> bool:
    """Whether some lie in one storage: a place in it does not tell then whose part a tensor is."""
    addresses = [argument.untyped_storage()._cdata for argument in arguments]
    return len(set(addresses)) < len(addresses)
