"""What depends on the same tensors alone, computed once.

An energy is asked again and again for other actions in the same contexts: by eight steps of a descent, for gradients,
for the negatives of every source. Most of the work is the context's. While `remembered` is active, the result of an
operation whose every input is one of the given tensors, or was computed from them alone, is kept and handed out again
when the same operation meets the same inputs. Nothing has to be known of the model, and the bits are the same.

What draws random numbers, works in place, or has a history of gradients is computed anew each time.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack
from torch.utils._pytree import tree_map_only

from energydiag.energies.operations import OperationsMode, geometry, is_plain, is_repeatable, tensors_in


@contextmanager
def remembered(module: nn.Module, *tensors: Tensor | None, limit: int | None = None) -> Iterator[None]:
    """Remembers what is computed from these tensors and the module's parameters and buffers, until the block ends.

    Args:
        module: Its parameters and buffers do not change in the block, or only by operations in place.
        *tensors: What stays the same besides; None is left out.
        limit: Bytes of results that may be kept; None: all.
    """
    given = [*(tensor for tensor in tensors if tensor is not None), *module.parameters(), *module.buffers()]
    told = not torch.is_inference_mode_enabled() and not any(tensor.is_inference() for tensor in given)
    if not told or any(mode.knows(given) for mode in _active()):  # tensors of inference do not tell of changes
        yield
        return
    with _Remembering(given, limit):
        yield


class _Unknown(Exception):
    """An input that was not computed from the given tensors alone."""


class _Remembering(OperationsMode):  # type: ignore[no-untyped-call]
    def __init__(self, given: Iterable[Tensor], limit: int | None) -> None:
        super().__init__()
        # storages are held: the address of one that is gone may become that of another
        self._known = {s._cdata: s for s in (t.untyped_storage() for t in given if is_plain(t))}
        self._results: dict[Hashable, tuple[Any, tuple[int, ...]]] = {}
        self._left = limit

    def knows(self, tensors: Iterable[Tensor]) -> bool:
        """Whether nothing has to be added for these."""
        return all(is_plain(t) and t.untyped_storage()._cdata in self._known for t in tensors)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if not is_repeatable(func, args, named):
            return func(*args, **named)
        try:
            # what tells this operation on these inputs from every other
            key = (func, self._key(args), self._key(tuple(sorted(named.items()))) if named else ())
            answer, versions = self._results.get(key, (None, ()))
        except (_Unknown, TypeError):  # TypeError: an argument that cannot be a key
            return func(*args, **named)
        if versions and versions == tuple(tensor._version for tensor in tensors_in(answer)):
            return _aliases(answer)
        answer = func(*args, **named)
        self._keep(key, answer)
        return answer

    def _keep(self, key: Hashable, answer: Any) -> None:
        found = tensors_in(answer)
        if not found or not all(is_plain(tensor) for tensor in found):
            return
        new = {s._cdata: s for s in (t.untyped_storage() for t in found) if s._cdata not in self._known}
        if self._left is not None:
            size = sum(storage.nbytes() for storage in new.values())
            if size > self._left:
                return
            self._left -= size
        self._known |= new
        self._results[key] = _aliases(answer), tuple(tensor._version for tensor in found)

    def _key(self, value: Any) -> Hashable:
        """What tells this argument from every other.

        Raises:
            _Unknown: It is, or holds, a tensor that is not known.
        """
        if isinstance(value, Tensor):
            storage = value.untyped_storage()._cdata if is_plain(value) else None
            if storage not in self._known or (value.requires_grad and torch.is_grad_enabled()):
                raise _Unknown
            return storage, geometry(value), value._version
        if isinstance(value, list | tuple):
            return type(value), tuple(self._key(each) for each in value)
        # 1, 1.0 and True are equal, and so are 0.0 and -0.0
        return type(value), value.hex() if isinstance(value, float) else value


def _active() -> list[_Remembering]:
    modes = _get_current_dispatch_mode_stack()
    return [mode for mode in modes if isinstance(mode, _Remembering)]


def _aliases(answer: Any) -> Any:
    """The same memory in other tensors: whoever gets them may ask them for gradients."""
    return answer.detach() if isinstance(answer, Tensor) else tree_map_only(Tensor, Tensor.detach, answer)
