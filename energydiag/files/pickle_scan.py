"""What a pickle of torch.save would do to its reader, found before it is read: time and memory without end.

Torch's safe unpickler runs no stranger's code, but it makes whatever is asked of what it allows: a ``bytearray`` of all
memory, a set of the billion values of a tensor that has one, a dict whose keys all hash to one place. So the pickle is
read as data first (`pickle_data`), and what it would have made is judged:

* What is called by its name gets arguments of the kind that torch.save gives it, and no others.
* A tensor that repeats its values (`Tensor.expand`) is a few bytes; what would write all of them out is refused.
* What is copied and hashed altogether is no more than a pickle may be long.

What is let pass, torch judges. Classes that the user allowed are the user's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import IO, Any

from energydiag.files.pickle_data import PERSISTENT, Made, Named, Pairs, Walk, walk

MOST_BYTES = 64 << 20
"""Of a pickle, without the storages: a checkpoint of ten thousand tensors has about two million."""

_MOST_OPCODES = 1_500_000
"""Of all pickles in the files that are read together; thirty thousand tensors have as many. Each makes an object of up
to a hundred bytes."""

_LEFT: ContextVar[list[int] | None] = ContextVar("opcodes that are left", default=None)

_MOST_WORK = 64 << 20
"""Characters that are copied or hashed: a file has each of its own once, a hostile one the same again and again."""

_ITEM = 16
"""How many characters an item of a list counts for: all opcodes that there may be make no more than two million."""

_MOST_ITEMS = 1000
"""That one key, or the arguments of one call, go through."""

_MOST_ODD_KEYS = 1000
"""Keys that are neither text nor plain numbers: all of them can be made to have the same hash."""

_LARGEST_KEY = 1 << 60
"""Whole numbers from here on can be made to have the same hash as others."""

_CODECS = ("latin1", "latin-1", "ascii", "utf-8", "utf8")
_TENSORS = re.compile(r"torch(\.\w+)*\.\w*(Tensor|Storage)")
_REBUILT = "torch._utils._rebuild_"
_VIEWS = frozenset(f"{_REBUILT}{name}" for name in ("tensor", "tensor_v2", "tensor_v3"))
"""What makes a tensor of a storage, without touching its values: ``(storage, offset, sizes, strides, …)``."""

_WRAPPERS = frozenset(
    f"{_REBUILT}{name}" for name in ("parameter", "parameter_with_state", "meta_tensor_no_storage", "wrapper_subclass")
)
"""What does not touch them either."""

_FROM_TYPE = "torch._tensor._rebuild_from_type_v2"


class Suspicious(ValueError):
    """A pickle that no torch.save wrote; the message says what it would do."""


@contextmanager
def read_together() -> Iterator[None]:
    """All files that are scanned inside may have as many opcodes together as one alone: parts of one thing."""
    token = _LEFT.set([_MOST_OPCODES])
    try:
        yield
    finally:
        _LEFT.reset(token)


def scan(stream: IO[bytes], size: int, pickles: int = 1) -> Walk:
    """Goes through the first pickles of a stream and judges what they would make.

    Args:
        stream: At the first one; is left anywhere.
        size: Bytes of the file that they are in, which no storage is larger than.
        pickles: How many there are.

    Returns:
        What was found; its ``failure`` says where they could not be followed.

    Raises:
        Suspicious: One would take time or memory without end.
    """
    left_of_all = _LEFT.get() or [_MOST_OPCODES]
    found = walk(stream, pickles, left_of_all[0], MOST_BYTES)
    left_of_all[0] = max(1, left_of_all[0] - found.opcodes)
    work = _Work()
    left = size
    for made in found.made:
        work.copies(made)  # first: what follows goes through the arguments too
        left -= _judge_call(made.kind, made.arguments)
        if left < 0:
            raise Suspicious("it would have the same tensors copied again and again")
        _judge_state(made.kind, made.state)
        work.hashes(_keys_made_by(made))
    for pairs in found.dicts:
        work.hashes(key for key, _ in pairs)
    if any(made.arguments[0][4] > size for made in found.made if made.kind is PERSISTENT):
        found.failure = found.failure or "a storage is larger than the file"
    return found


# --- how much is copied and hashed


class _Work:
    """Counts it, up to what is too much."""

    def __init__(self) -> None:
        self._done = 0
        self._odd_keys = 0
        self._weights: dict[int, int] = {}

    def copies(self, made: Made) -> None:
        """A call goes through its arguments once, and makes something of their size."""
        weight = 1 + sum(map(self._weight, made.arguments)) + self._weight(made.state)
        self._weights[id(made)] = weight
        self._add(weight)

    def hashes(self, keys: Iterable[Any]) -> None:
        """Dicts and sets hash every key, a tuple with all that is in it, whenever they meet it."""
        for key in keys:
            if isinstance(key, int) and abs(key) >= _LARGEST_KEY:
                raise Suspicious("a key in it is a number of more than 60 bits")
            if key is None or isinstance(key, str | bytes | int | float | Named):
                self._add(1)
                continue
            self._odd_keys += 1
            if self._odd_keys > _MOST_ODD_KEYS:
                raise Suspicious(f"more than {_MOST_ODD_KEYS} of its keys are neither text nor numbers")
            _all_in(key, _MOST_ITEMS)

    def _weight(self, value: Any) -> int:
        if isinstance(value, Made):
            return self._weights.get(id(value), 1)  # a state may be made later; one that is made is refused
        if isinstance(value, list | tuple):
            return 1 + _ITEM * len(value)
        return len(value) if isinstance(value, str | bytes) else 1

    def _add(self, weight: int) -> None:
        self._done += weight
        if self._done > _MOST_WORK:
            raise Suspicious("it would have the same things copied without end")


def _inner(value: Any) -> Sequence[Any]:
    """What hashing or printing a record goes through besides."""
    if isinstance(value, Made):
        return value.arguments
    return value if isinstance(value, list | tuple) else ()


def _all_in(value: Any, most: int) -> list[Any]:
    """A record and what is in it, the same thing in many places many times.

    Raises:
        Suspicious: There are more than so many, perhaps without end.
    """
    found = [value]
    for one in found:  # which grows meanwhile
        inner = _inner(one)
        if len(found) + len(inner) > most:
            raise Suspicious("a key in it would take very long to hash, or a tensor very long to make")
        found.extend(inner)
    return found


def _keys_made_by(made: Made) -> Iterator[Any]:
    """What a call hashes of its arguments."""
    name = _name_of(made.kind)
    if name.startswith("torch.") or made.kind is PERSISTENT:
        return
    for argument in made.arguments:
        if not isinstance(argument, Pairs) and _is_list(argument):  # a dict's keys are judged with all dicts
            yield from (item[0] if name == "collections.OrderedDict" else item for item in argument)


# --- what is called with what


_PYTHON_2 = {
    "__builtin__": "builtins",
    "UserDict": "collections",
    "UserList": "collections",
    "UserString": "collections",
}
"""Modules that torch finds under a former name, as far as something in them is allowed."""


def _name_of(kind: Any) -> str:
    """The dotted name that torch looks up; empty for what is none."""
    return f"{_PYTHON_2.get(kind.module, kind.module)}.{kind.name}" if isinstance(kind, Named) else ""


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _is_plain(value: Any) -> bool:
    """Neither a tensor nor anything else that was made, which torch would have to go through item by item."""
    return not isinstance(value, Made | Named)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _are_pairs(value: Any) -> bool:
    return isinstance(value, Pairs) or (_is_list(value) and all(_is_list(pair) and len(pair) == 2 for pair in value))


def _are_numbers(value: Any) -> bool:
    return _is_list(value) and all(map(_is_number, value))


def _are_bytes(value: Any) -> bool:
    """Bytes or text; protocol 2 knows bytes as text to be encoded alone."""
    return isinstance(value, str | bytes) or (isinstance(value, Made) and _name_of(value.kind) == "_codecs.encode")


_ARGUMENTS: dict[str, Callable[[Any], bool]] = {
    "_codecs.encode": _is_text,
    **{f"builtins.{name}": _is_list for name in ("frozenset", "list", "tuple")},
    **{
        f"builtins.{name}": lambda value: _is_plain(value) and not _is_list(value)
        for name in ("bool", "float", "int", "slice", "str")
    },
    "builtins.dict": _are_pairs,
    "builtins.bytearray": _are_bytes,
    "builtins.complex": _is_number,
    "builtins.set": _is_list,
    "collections.Counter": lambda value: _is_plain(value) and not _is_number(value),
    "collections.OrderedDict": _are_pairs,
    "collections.defaultdict": lambda value: value is None or isinstance(value, Named) or _are_pairs(value),
    "collections.deque": lambda value: value is None or isinstance(value, int) or _is_list(value),
    **{f"numpy.{name}": _is_number for name in ("bool_", "float16", "float32", "float64")},
    **{f"numpy.{sign}int{bits}": _is_number for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "torch.Size": _are_numbers,
    "torch.device": lambda value: _is_text(value) or _is_number(value),
    "torch.serialization._get_layout": _is_text,
}
"""What torch allows to be called besides tensors, and what every argument of it is."""


def _judge_call(kind: Named, arguments: tuple[Any, ...]) -> int:
    """How many values of tensors a call copies.

    Raises:
        Suspicious: Its arguments are not those that torch.save writes.
    """
    if kind is PERSISTENT:
        _judge_storage(arguments[0])
        return 0
    name = _name_of(kind)
    fits = _ARGUMENTS.get(name)
    if fits is not None and not all(map(fits, arguments)):
        raise Suspicious(f"it makes a {name} of something that none is made of")
    if name == "_codecs.encode" and not (len(arguments) == 2 and arguments[1] in _CODECS):
        raise Suspicious("it encodes text in an unusual way")
    if _TENSORS.fullmatch(name) and arguments:
        raise Suspicious(f"it makes a {name} of a size, or of a list, and not of its storage")
    if name == _FROM_TYPE:
        return _judge_subclass(arguments)
    copies = name.startswith(_REBUILT) and name not in _VIEWS | _WRAPPERS
    return _judge_copy(name, arguments) if copies else 0


def _judge_storage(key: Any) -> None:
    """``("storage", type, key, device, count)`` and, before 0.4, a view of it."""
    kinds: tuple[Any, ...] = (str, Named, (str, int), str, int, (tuple, type(None)))
    if not (
        type(key) is tuple
        and len(key) in (5, 6)
        and all(isinstance(item, kind) for item, kind in zip(key, kinds, strict=False))
        and (len(key) == 5 or key[5] is None or all(isinstance(item, str | int) for item in key[5]))
    ):
        raise Suspicious("it names a storage in an unusual way")


def _judge_subclass(arguments: tuple[Any, ...]) -> int:
    """``(function, type, its arguments, state)``: another call inside of this one."""
    function, *rest = arguments or (None,)
    if not (_name_of(function).startswith(_REBUILT) and len(rest) == 3 and type(rest[1]) is tuple):
        raise Suspicious("it calls something through torch's rebuilding of tensors")
    _judge_state(function, rest[2])
    return _judge_call(function, rest[1])


def _judge_copy(name: str, arguments: tuple[Any, ...]) -> int:
    """Sparse, quantized and nested tensors, those of other devices: torch goes through their values, or makes room."""
    tensors = [value.arguments for value in _all_in(arguments, _MOST_ITEMS) if _is_tensor(value)]
    if name == f"{_REBUILT}qtensor":
        tensors.append(arguments)
    return sum(_size_of_view(name, tensor) for tensor in tensors)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Made) and _name_of(value.kind).startswith((_REBUILT, _FROM_TYPE))


def _size_of_view(name: str, arguments: tuple[Any, ...]) -> int:
    """How many values ``(storage, offset, sizes, …)`` has, which has to be no more than the storage."""
    storage, sizes = (arguments[0], arguments[2]) if len(arguments) > 3 else (None, ())
    if isinstance(sizes, Made) and _name_of(sizes.kind) == "torch.Size" and sizes.arguments:
        sizes = sizes.arguments[0]
    if isinstance(storage, Made) and storage.kind is PERSISTENT and _are_numbers(sizes):
        size = math.prod(sizes)
        if 0 <= size <= storage.arguments[0][4]:
            return size
    raise Suspicious(f"it makes a {name} of a tensor that is larger than its storage")


def _judge_state(kind: Named, state: Any) -> None:
    """What sets an object's state goes through all of it: a tensor would be taken apart value by value."""
    known = _name_of(kind).startswith(("torch.", "collections.", "builtins."))
    if not (state is None or isinstance(state, tuple | Pairs) or (not known and _is_plain(state))):
        raise Suspicious(f"it sets the state of a {kind.name} to something that is none")
