"""What a pickle of torch.save would do to its reader, found before it is read: time and memory without end.

Torch's safe unpickler runs no stranger's code, but it makes whatever is asked of what it allows: a ``bytearray`` of all
memory, a codec of quadratic time, a dict whose key takes years to hash. A scan walks the opcodes with a stack of kinds
in place of values; nothing is made, imported or called. What it lets pass, torch judges.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

MOST_BYTES = 64 << 20
"""Of a pickle, without the storages: a checkpoint of ten thousand tensors has about two million."""

_MOST_OPCODES = 2_000_000
"""Of all pickles in a file; forty thousand tensors have as many. Each makes an object of up to a hundred bytes."""

_MOST_ITEMS = 1000
"""That hashing a key goes through."""

_LARGEST_KEY = 1 << 60
"""Whole numbers from here on can be made to have the same hash as others."""

_CODECS = ("latin1", "latin-1", "ascii", "utf-8", "utf8")
_MADE_BY_SIZE = re.compile(r"builtins\.bytearray|torch(\.\w+)*\.\w*(Tensor|Storage)")
_REBUILDS = re.compile(r"torch\._utils\._rebuild\w*")


class Suspicious(ValueError):
    """A pickle that no torch.save wrote; the message says what it would do."""


@dataclass(eq=False, slots=True)
class _Value:
    """Something on the stack.

    Attributes:
        items: What a tuple holds.
        size: How many items hashing or printing it would go through.
        name: What a global is called.
        text: A short text.
        number: A whole number.
    """

    items: tuple[_Value, ...] | None = None
    size: int = 1
    name: str = ""
    text: str | None = None
    number: int | None = None


_PLAIN = _Value()


def scan(stream: IO[bytes], pickles: int = 1) -> None:
    """Goes through the first pickles of a stream, as far as they can be followed.

    Args:
        stream: At the first one; is left anywhere.
        pickles: How many there are.

    Raises:
        Suspicious: One would take time or memory without end.
    """
    limited = _Limited(stream)
    left = _MOST_OPCODES
    for _ in range(pickles):
        machine = _Machine()
        try:
            for opcode, argument, _ in pickletools.genops(limited):  # type: ignore[arg-type]
                left -= 1
                if left < 0:
                    raise Suspicious(f"it has more than {_MOST_OPCODES} opcodes")
                machine.step(opcode.name, argument)
        except Suspicious:
            raise
        except Exception:  # damaged, or beyond what torch reads: torch says so
            return


class _Limited:
    """Reads no more than a pickle may have, whatever lengths are told in it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left = MOST_BYTES

    def read(self, count: int) -> bytes:
        return self._counted(self._stream.read(min(count, self._left + 1)))

    def readline(self) -> bytes:
        return self._counted(self._stream.readline(self._left + 1))

    def _counted(self, found: bytes) -> bytes:
        self._left -= len(found)
        if self._left < 0:
            raise Suspicious(f"it has more than {MOST_BYTES >> 20} MiB without its tensors")
        return found


class _Machine:
    """The stack of one pickle."""

    def __init__(self) -> None:
        self.stack: list[_Value] = []
        self.marks: list[int] = []
        self.memo: dict[int, _Value] = {}

    def step(self, opcode: str, argument: Any) -> None:
        own = getattr(self, f"_{opcode.lower()}", None)
        if own is not None:
            own(argument)
        elif opcode not in ("PROTO", "FRAME", "STOP"):
            self.stack.append(_value(argument))

    def _take(self, count: int) -> list[_Value]:
        taken = [self.stack.pop() for _ in range(count)]
        return taken[::-1]

    def _since_mark(self) -> list[_Value]:
        start = self.marks.pop()
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def _mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def _pop(self, _: Any) -> None:
        self.stack.pop()

    def _binput(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    def _binget(self, place: int) -> None:
        self.stack.append(self.memo[place])

    _long_binput, _put = _binput, _binput
    _long_binget, _get = _binget, _binget

    def _memoize(self, _: Any) -> None:
        self._binput(len(self.memo))

    def _global(self, argument: str) -> None:
        self.stack.append(_Value(name=argument.replace(" ", ".", 1).replace("__builtin__.", "builtins.", 1)))

    def _stack_global(self, _: Any) -> None:
        module, name = self._take(2)
        self.stack.append(_Value(name=f"{module.text}.{name.text}"))

    def _group(self, items: list[_Value]) -> None:
        size = min(1 + sum(item.size for item in items), 1 << 62)
        self.stack.append(_Value(items=tuple(items), size=size))

    def _empty_tuple(self, _: Any) -> None:
        self._group([])

    def _tuple(self, _: Any) -> None:
        self._group(self._since_mark())

    def _tuple1(self, _: Any) -> None:
        self._group(self._take(1))

    def _tuple2(self, _: Any) -> None:
        self._group(self._take(2))

    def _tuple3(self, _: Any) -> None:
        self._group(self._take(3))

    def _empty_list(self, _: Any) -> None:
        self.stack.append(_Value())

    _empty_dict, _empty_set = _empty_list, _empty_list

    def _append(self, _: Any) -> None:
        self._into_list(self._take(1))

    def _appends(self, _: Any) -> None:
        self._into_list(self._since_mark())

    def _into_list(self, items: list[_Value]) -> None:
        # a list cannot be hashed itself, but a set of its items can be made
        top = self.stack[-1]
        top.size = max([top.size, *(item.size for item in items)])

    def _setitem(self, _: Any) -> None:
        self._into_dict(self._take(2))

    def _setitems(self, _: Any) -> None:
        self._into_dict(self._since_mark())

    def _into_dict(self, items: list[_Value]) -> None:
        for key in items[::2]:
            _check_key(key)

    def _build(self, _: Any) -> None:
        self.stack.pop()

    def _binpersid(self, _: Any) -> None:
        self._take(1)
        self.stack.append(_Value())

    def _reduce(self, _: Any) -> None:
        called, arguments = self._take(2)
        _check_call(called, arguments.items or ())
        self.stack.append(_Value())

    _newobj = _reduce


def _value(argument: Any) -> _Value:
    if isinstance(argument, str):
        return _Value(text=argument) if len(argument) < 200 else _PLAIN
    return _Value(number=argument) if type(argument) is int else _PLAIN


def _check_key(key: _Value) -> None:
    if key.size > _MOST_ITEMS:
        raise Suspicious("a key in it would take very long to hash")
    if key.number is not None and abs(key.number) >= _LARGEST_KEY:
        raise Suspicious("a key in it is a number of more than 60 bits")


def _check_call(called: _Value, arguments: Sequence[_Value]) -> None:
    name = called.name
    sizes = any(argument.number is not None or argument.items is not None for argument in arguments)
    if _MADE_BY_SIZE.fullmatch(name) and sizes:
        raise Suspicious(f"it makes a {name} of a size, not of its values")
    if name == "_codecs.encode" and len(arguments) > 1 and arguments[1].text not in _CODECS:
        raise Suspicious("it encodes text in an unusual way")
    if name == "torch._tensor._rebuild_from_type_v2" and not (arguments and _REBUILDS.fullmatch(arguments[0].name)):
        raise Suspicious("it calls something through torch's rebuilding of tensors")
    if not name.startswith("torch."):
        for argument in arguments:
            _check_key(argument)
