"""What one piece of the work took, done again for the others.

`torch.func.vmap` decides for every operation of the model, twice over, how it is done for many: a millisecond for a
piece, whatever its size. Pieces that leave the caches are slower, too. So the operations of the first piece are written
down, and pieces of the same shapes do these again: nothing is decided a second time, and pieces can be small. What came
from the weights, or from arguments that stay the same, is not even computed again.

That is sound where the operations depend on shapes alone. Inside of a map they do: a model that asks for a value raises
there. What a model keeps in Python between two calls is not seen; `pair_table` compares with plain calls.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable

from torch import Tensor

from energydiag.energies.operations import geometry
from energydiag.energies.tape import Recorder, Tape

Answers = tuple[Tensor, ...]


class Replayed:
    """A function of tensors that is run once for every combination of shapes, and is done again from its tape then.

    Without gradients only: what is done again has no history.
    """

    def __init__(self, function: Callable[..., Answers], varying: Collection[int], limit: int | None = None) -> None:
        """Wraps a function.

        Args:
            function: Of tensors, or None, by position; its operations depend on their shapes alone.
            varying: Positions of the arguments that are others each time; what comes from the rest alone is kept.
            limit: Bytes that may be kept; None: all.
        """
        self._function, self._varying, self._limit = function, varying, limit
        self._tapes: dict[Hashable, Tape | None] = {}

    def __call__(self, *arguments: Tensor | None) -> Answers:
        """The function's answers."""
        varying = [a for place, a in enumerate(arguments) if place in self._varying and a is not None]
        key = tuple(None if a is None else self._key(place, a) for place, a in enumerate(arguments))
        if key not in self._tapes and _share_memory(arguments):
            self._tapes[key] = None
        if key not in self._tapes:
            with Recorder(varying, self._limit) as recorder:
                answers = self._function(*arguments)
            self._tapes[key] = recorder.tape(answers)
            return answers
        tape = self._tapes[key]
        return self._function(*arguments) if tape is None else tape.run(varying)

    def _key(self, place: int, tensor: Tensor) -> Hashable:
        if place in self._varying:
            return tensor.shape, tensor.stride(), tensor.dtype
        return tensor.untyped_storage()._cdata, geometry(tensor)


def _share_memory(arguments: Iterable[Tensor | None]) -> bool:
    """Whether some lie in one storage: a place in it does not tell then whose part a tensor is."""
    addresses = [argument.untyped_storage()._cdata for argument in arguments if argument is not None]
    return len(set(addresses)) < len(addresses)
