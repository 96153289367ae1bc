"""Pickles read as data: opcodes become inert records; nothing is imported, called or built.

The opcodes are those of `pickletools`; stack, marks and memo work as in Python's own reader and in torch's. A global
becomes a `Named`, whatever it names; a call and a new object become a `Made` that remembers what would have been
called; a dict becomes its `Pairs`, so that no stranger's key is hashed. What does not fit ends the walk: a reader that
goes on where this one stopped would see another pickle.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

from energydiag.errors import first_line

_MOST_OPCODES = 3_000_000
"""Fifty thousand pieces of tensors have as many. Each makes a record of up to a hundred bytes."""

_MOST_BYTES = 64 << 20
_LONGEST_FAILURE = 200
"""Characters of it; it may quote the pickle."""


class Pairs(list[tuple[Any, Any]]):
    """The items of a dict, in their order."""

    __slots__ = ()


@dataclass(frozen=True, eq=False, slots=True)
class Named:
    """What a pickle would have imported."""

    module: str
    name: str

    @property
    def dotted(self) -> str:
        """Both, with a dot between."""
        return f"{self.module}.{self.name}"


@dataclass(eq=False, repr=False, slots=True)
class Made:
    """What a pickle would have made.

    Attributes:
        kind: What would have been called; `PERSISTENT` for what torch keeps outside of the pickle.
        arguments: With which arguments.
        state: What would have been set on it afterwards.
        pairs: Its items, where it is a dict of its own kind and has any.
    """

    kind: Named
    arguments: tuple[Any, ...]
    state: Any = None
    pairs: Pairs | None = None


PERSISTENT = Named("", "persistent")


@dataclass
class Walk:
    """What was found on the way through one or several pickles.

    Attributes:
        value: What the last one holds; None where the walk did not get there.
        names: Everything that would have been imported.
        made: Everything that would have been made, each behind what it is made of.
        dicts: The items of every dict.
        failure: Why a pickle could not be followed to its end; empty where all could.
        opcodes: How many there were.
    """

    value: Any = None
    names: list[Named] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)
    dicts: list[Pairs] = field(default_factory=list)
    failure: str = ""
    opcodes: int = 0

    def dotted(self) -> list[str]:
        """The names, each once."""
        return sorted({named.dotted for named in self.names})


def walk(stream: IO[bytes], pickles: int = 1, most_opcodes: int = _MOST_OPCODES, most_bytes: int = _MOST_BYTES) -> Walk:
    """Goes through the first pickles of a stream, as far as they can be followed.

    Args:
        stream: At the first one; is left anywhere.
        pickles: How many there are.
        most_opcodes: Of all of them together.
        most_bytes: Likewise.
    """
    found, left = Walk(), most_opcodes
    content = stream.read(most_bytes + 1)
    try:
        inside = io.BytesIO(content[:most_bytes])
        for _ in range(pickles):
            left -= _follow(inside, left, found)
            found.opcodes = most_opcodes - left
    except Exception as error:  # a damaged or hostile pickle can provoke any in pickletools
        long = len(content) > most_bytes and inside.tell() == most_bytes
        told = f"it has more than {most_bytes >> 20} MiB without its tensors" if long else first_line(error)
        found.failure = told[:_LONGEST_FAILURE]
    return found


def plain_data(content: bytes) -> tuple[Any, list[Named]]:
    """What a pickle holds, as records, and every name that it would have imported.

    Raises:
        ValueError: It is damaged, or uses opcodes beyond those of plain data.
    """
    found = walk(io.BytesIO(content))
    if found.failure:
        raise ValueError(found.failure)
    return found.value, found.names


def _follow(stream: IO[bytes], most: int, found: Walk) -> int:
    """One pickle, to its end; returns the number of its opcodes."""
    machine = _Machine(found)
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream), 1):
        if count > most:
            raise ValueError("it has too many opcodes")
        if opcode.name == "STOP":
            (found.value,) = machine.take(1)
            return count
        step = _STEPS.get(opcode.name)
        if step is None:
            raise ValueError(f"opcode {opcode.name} is not read")
        step(machine, argument)
    raise ValueError("it has no end")


class _Machine:
    """The stack of one pickle.

    A mark begins a stack of its own: what stands below cannot be reached until the mark is taken.
    """

    def __init__(self, found: Walk) -> None:
        self.stack: list[Any] = []
        self._outer: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._found = found

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def take(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise ValueError("the stack is empty")
        taken = self.stack[-count:]
        del self.stack[-count:]
        return taken

    def mark(self, _: Any) -> None:
        self._outer.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        if not self._outer:
            raise ValueError("a mark is missing")
        taken, self.stack = self.stack, self._outer.pop()
        return taken

    def top(self) -> Any:
        if not self.stack:
            raise ValueError("the stack is empty")
        return self.stack[-1]

    def put(self, place: Any) -> None:
        self._memo[int(place)] = self.top()

    def memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self.top()

    def get(self, place: Any) -> None:
        if int(place) not in self._memo:
            raise ValueError("nothing was kept there")
        self.push(self._memo[int(place)])

    def new_dict(self, _: Any) -> None:
        self.push(self._pairs())

    def _pairs(self) -> Pairs:
        self._found.dicts.append(Pairs())
        return self._found.dicts[-1]

    def name(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise ValueError("a global without a name")
        self._found.names.append(Named(module, name))
        self.push(self._found.names[-1])

    def make(self, _: Any) -> None:
        kind, arguments = self.take(2)
        if not (isinstance(kind, Named) and type(arguments) is tuple):
            raise ValueError("a call of something that has no name, or without arguments")
        self._made(Made(kind, arguments))

    def persistent(self, key: Any) -> None:
        self._made(Made(PERSISTENT, (key,)))

    def _made(self, made: Made) -> None:
        self._found.made.append(made)
        self.push(made)

    def build(self, _: Any) -> None:
        (state,) = self.take(1)
        made = self.top()
        if not isinstance(made, Made) or made.state is not None:
            raise ValueError("a state for something that was not made, or has one")
        made.state = state

    def extend(self, items: list[Any]) -> None:
        if type(self.top()) is not list:
            raise ValueError("items for something that is no list")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.top()
        if isinstance(target, Made):
            target.pairs = target.pairs or self._pairs()
            target = target.pairs
        if not isinstance(target, Pairs) or len(items) % 2:
            raise ValueError("pairs for something that is no dict")
        target.extend(zip(items[::2], items[1::2], strict=True))


_Step = Callable[[_Machine, Any], None]
_VALUES = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
)
"""Not LONG4: whole numbers of more than 255 bytes take long to multiply and to print, and nobody writes them."""

_STEPS: dict[str, _Step] = {
    **dict.fromkeys(_VALUES, _Machine.push),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
    **dict.fromkeys(("NEWOBJ", "REDUCE"), _Machine.make),
    **dict.fromkeys(("PROTO", "FRAME"), lambda _m, _: None),
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),
    "NEWFALSE": lambda m, _: m.push(False),
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_DICT": _Machine.new_dict,
    "MARK": _Machine.mark,
    "TUPLE": lambda m, _: m.push(tuple(m.since_mark())),
    "TUPLE1": lambda m, _: m.push(tuple(m.take(1))),
    "TUPLE2": lambda m, _: m.push(tuple(m.take(2))),
    "TUPLE3": lambda m, _: m.push(tuple(m.take(3))),
    "APPEND": lambda m, _: m.extend(m.take(1)),
    "APPENDS": lambda m, _: m.extend(m.since_mark()),
    "SETITEM": lambda m, _: m.set_items(m.take(2)),
    "SETITEMS": lambda m, _: m.set_items(m.since_mark()),
    "MEMOIZE": _Machine.memoize,
    "GLOBAL": lambda m, text: m.name(*text.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m.name(*m.take(2)),
    "BUILD": _Machine.build,
    "BINPERSID": lambda m, _: m.persistent(m.take(1)[0]),
    "PERSID": _Machine.persistent,
}
