"""Pickles read as data: opcodes become inert records; nothing is imported, called or built.

The opcodes are those of `pickletools`. A global becomes a `Named`, whatever it names; a call and a new object become a
`Made` that remembers what would have been called; a dict becomes its `Pairs`, so that no stranger's key is hashed.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any


@dataclass(frozen=True, eq=False)
class Named:
    """What a pickle would have imported."""

    module: str
    name: str


@dataclass(eq=False, repr=False)
class Made:
    """What a pickle would have made.

    Attributes:
        kind: What would have been called.
        arguments: With which arguments.
        state: What would have been set on it afterwards.
    """

    kind: Named
    arguments: tuple[Any, ...]
    state: Any = None


class Pairs(list[tuple[Any, Any]]):
    """The items of a dict, in their order."""


@dataclass
class _Machine:
    """The stack of one pickle, and the names that it asked for."""

    names: list[Named] = field(default_factory=list)
    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def since_mark(self) -> list[Any]:
        start = self.marks.pop()
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def take(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise ValueError("the stack is empty")
        taken = self.stack[-count:]
        del self.stack[-count:]
        return taken

    def name(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise ValueError("a global without a name")
        self.names.append(Named(module, name))
        self.stack.append(self.names[-1])

    def make(self, _arg: Any) -> None:
        kind, arguments = self.take(2)
        if not (isinstance(kind, Named) and isinstance(arguments, tuple)):
            raise ValueError("a call of something that has no name")
        self.stack.append(Made(kind, arguments))

    def build(self, _arg: Any) -> None:
        (state,) = self.take(1)
        if not isinstance(self.stack[-1], Made):
            raise ValueError("a state for something that was not made")
        self.stack[-1].state = state

    def extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise ValueError("items for something that is no list")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], Pairs) or len(items) % 2:
            raise ValueError("pairs for something that is no dict")
        self.stack[-1].extend(zip(items[::2], items[1::2], strict=True))

    def persistent(self, key: Any) -> None:
        self.stack.append(Made(Named("", "persistent"), (key,)))


def _push(machine: _Machine, value: Any) -> None:
    machine.stack.append(value)


def _put(machine: _Machine, place: Any) -> None:
    machine.memo[int(place)] = machine.stack[-1]


_Step = Callable[[_Machine, Any], None]
_VALUES = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
)
_STEPS: dict[str, _Step] = {
    **dict.fromkeys(_VALUES, _push),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda m, place: m.stack.append(m.memo[int(place)])),
    **dict.fromkeys(("NEWOBJ", "REDUCE"), _Machine.make),
    **dict.fromkeys(("PROTO", "FRAME"), lambda _m, _: None),
    "NONE": lambda m, _: m.stack.append(None),
    "NEWTRUE": lambda m, _: m.stack.append(True),
    "NEWFALSE": lambda m, _: m.stack.append(False),
    "EMPTY_TUPLE": lambda m, _: m.stack.append(()),
    "EMPTY_LIST": lambda m, _: m.stack.append([]),
    "EMPTY_DICT": lambda m, _: m.stack.append(Pairs()),
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.since_mark())),
    "TUPLE1": lambda m, _: m.stack.append(tuple(m.take(1))),
    "TUPLE2": lambda m, _: m.stack.append(tuple(m.take(2))),
    "TUPLE3": lambda m, _: m.stack.append(tuple(m.take(3))),
    "APPEND": lambda m, _: m.extend(m.take(1)),
    "APPENDS": lambda m, _: m.extend(m.since_mark()),
    "SETITEM": lambda m, _: m.set_items(m.take(2)),
    "SETITEMS": lambda m, _: m.set_items(m.since_mark()),
    "MEMOIZE": lambda m, _: _put(m, len(m.memo)),
    "GLOBAL": lambda m, text: m.name(*str(text).split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m.name(*m.take(2)),
    "BUILD": _Machine.build,
    "BINPERSID": lambda m, _: m.persistent(m.take(1)[0]),
    "PERSID": _Machine.persistent,
}


_MOST_OPCODES = 3_000_000
"""Of one pickle; fifty thousand pieces of tensors have as many. Each makes a record of up to a hundred bytes."""


def _run(stream: IO[bytes], machine: _Machine) -> Any:
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if count > _MOST_OPCODES:
            raise ValueError(f"it has more than {_MOST_OPCODES} opcodes")
        if opcode.name == "STOP":
            return machine.stack[-1]
        step = _STEPS.get(opcode.name)
        if step is None:
            raise ValueError(f"opcode {opcode.name} is not read")
        step(machine, argument)
    raise ValueError("it has no end")


def plain_data(content: bytes) -> tuple[Any, list[Named]]:
    """What a pickle holds, as records, and every name that it would have imported.

    Raises:
        ValueError: It is damaged, or uses opcodes beyond those of plain data.
    """
    machine = _Machine()
    try:
        return _run(io.BytesIO(content), machine), machine.names
    except ValueError:
        raise
    except Exception as error:  # a hostile pickle can provoke any
        raise ValueError(f"damaged ({type(error).__name__})") from error


def globals_of(stream: IO[bytes], pickles: int) -> list[str]:
    """Dotted names that the first pickles of a stream ask for, as far as they can be read."""
    found: set[str] = set()
    for _ in range(pickles):
        machine = _Machine()
        try:
            _run(stream, machine)
        except Exception:  # whatever a hostile file provokes here, it stays refused
            break
        finally:
            found |= {f"{named.module}.{named.name}" for named in machine.names}
    return sorted(found)
