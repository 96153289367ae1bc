"""What an event of TensorBoard says, from the bytes of its protocol buffer.

The messages are ``Event``, ``Summary``, ``TensorProto``, ``SummaryMetadata`` and ``SessionLog``; the numbers of their
fields are fixed for good, and a few are enough for scalars. TensorBoard's own classes need three times as long.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_VARINT, _EIGHT, _SPAN, _FOUR = 0, 1, 2, 5
_DOUBLE, _FLOAT = struct.Struct("<d").unpack_from, struct.Struct("<f").unpack_from

_KINDS = {
    **{1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 9: "<i8", 10: "?"},
    **{17: "<u2", 19: "<f2", 22: "<u4", 23: "<u8"},
}
"""NumPy's names for TensorFlow's kinds of numbers."""

_BFLOAT16 = 14


@dataclass(frozen=True)
class Value:
    """One value of a summary.

    Attributes:
        tag: Its name.
        number: What it is, where it is a scalar.
        place: Where in the data its four bytes stand, where it is a scalar of that size.
        plugin: What shows it in TensorBoard, where it says so.
    """

    tag: str
    number: float | None
    place: int | None
    plugin: str


@dataclass(frozen=True)
class Event:
    """One event: a time in seconds since 1970, a step, values; or the start of a session that begins at that step."""

    time: float
    step: int
    values: tuple[Value, ...]
    starts: bool


Field = tuple[int, int, int, int]
"""Number, wire type, and either a number and 0 or where the field's bytes begin and end."""


def fields(data: bytes, place: int, end: int) -> Iterator[Field]:
    """The fields of a message.

    Raises:
        ValueError: It is none.
    """
    while place < end:
        key, place = varint(data, place, end)
        wire = key & 7
        if wire == _VARINT:
            value, place = varint(data, place, end)
            yield key >> 3, wire, value, 0
            continue
        if wire == _SPAN:
            length, place = varint(data, place, end)
        elif wire in (_EIGHT, _FOUR):
            length = 8 if wire == _EIGHT else 4
        else:
            raise ValueError("a field of no known kind")
        if place + length > end:
            raise ValueError("a field that is longer than its message")
        yield key >> 3, wire, place, place + length
        place += length


def varint(data: bytes, place: int, end: int) -> tuple[int, int]:
    """A number of seven bits a byte, and the place behind it."""
    value = shift = 0
    while place < end and shift < 70:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, place
        shift += 7
    raise ValueError("a number without an end")


def signed(value: int) -> int:
    """Two's complement of 64 bits."""
    return value - (1 << 64) if value >> 63 else value


def event(data: bytes, place: int, end: int) -> Event:
    """An event of TensorBoard.

    Raises:
        ValueError: These bytes are none.
    """
    time, step, values, starts = 0.0, 0, list[Value](), False
    for number, wire, a, b in fields(data, place, end):
        if (number, wire) == (1, _EIGHT):
            time = _DOUBLE(data, a)[0]
        elif (number, wire) == (2, _VARINT):
            step = signed(a)
        elif (number, wire) == (5, _SPAN):
            values += [_value(data, c, d) for n, w, c, d in fields(data, a, b) if (n, w) == (1, _SPAN)]
        elif (number, wire) == (7, _SPAN):
            starts = any((n, w, c) == (1, _VARINT, 1) for n, w, c, _ in fields(data, a, b))
    return Event(time, step, tuple(values), starts)


def _value(data: bytes, place: int, end: int) -> Value:
    tag, plugin = "", ""
    found: tuple[float | None, int | None] = None, None
    for number, wire, a, b in fields(data, place, end):
        if (number, wire) == (1, _SPAN):
            tag = data[a:b].decode("utf-8", "replace")
        elif (number, wire) == (2, _FOUR):
            found = _FLOAT(data, a)[0], a
        elif (number, wire) == (8, _SPAN):
            found = _scalar(data, a, b)
        elif number in (3, 4, 5, 6):
            found = None, None  # a picture, a histogram, sound
        elif (number, wire) == (9, _SPAN):
            plugin = _plugin(data, a, b)
    return Value(tag, *found, plugin)


def _plugin(data: bytes, place: int, end: int) -> str:
    for number, wire, a, b in fields(data, place, end):
        if (number, wire) == (1, _SPAN):
            for inner, kind, c, d in fields(data, a, b):
                if (inner, kind) == (1, _SPAN):
                    return data[c:d].decode("utf-8", "replace")
    return ""


def _scalar(data: bytes, place: int, end: int) -> tuple[float | None, int | None]:
    """The only number of a tensor, and where it stands if it is a float of four bytes."""
    kind, single, where = 0, True, (0, 0)
    number: float | None = None
    for field, wire, a, b in fields(data, place, end):
        if (field, wire) == (1, _VARINT):
            kind = a
        elif (field, wire) == (2, _SPAN):
            sizes = (size for n, w, c, d in fields(data, a, b) if (n, w) == (2, _SPAN) for size in _size(data, c, d))
            single = all(size == 1 for size in sizes)
        elif (wire == _SPAN and field in (4, 5, 6)) or (field, wire) in ((5, _FOUR), (6, _EIGHT)):
            where = a, b
        elif field in (7, 10, 11, 13, 16, 17) and wire in (_VARINT, _SPAN):
            value = a if wire == _VARINT else varint(data, a, b)[0]
            number = _of_integer(kind, value)
            single = single and (wire == _VARINT or varint(data, a, b)[1] == b)
    if not single:
        return None, None
    if number is not None:
        return number, None
    content = data[slice(*where)]
    if kind == _BFLOAT16 and len(content) == 2:
        return _FLOAT(b"\0\0" + content)[0], None
    if kind not in _KINDS or len(content) != np.dtype(_KINDS[kind]).itemsize:
        return None, None
    return float(np.frombuffer(content, _KINDS[kind])[0]), where[0] if kind == 1 else None


def _size(data: bytes, place: int, end: int) -> Iterator[int]:
    for number, wire, a, _ in fields(data, place, end):
        if (number, wire) == (1, _VARINT):
            yield signed(a)


def _of_integer(kind: int, value: int) -> float | None:
    """A number that was written as an integer: also halves, as their bits."""
    if kind == _BFLOAT16:
        return float(_FLOAT(struct.pack("<I", (value & 0xFFFF) << 16))[0])
    if kind == 19:
        return float(np.array(value & 0xFFFF, np.uint16).view(np.float16))
    return float(value if kind in (22, 23) else signed(value)) if kind in _KINDS else None
