"""TensorBoard's record files: length, its CRC-32C, data, their CRC-32C, again and again.

The checksums of many records are computed together. CRC-32C is linear: what a byte contributes depends on its value
and on its distance from the end alone, so that the contributions are looked up and added up by exclusive or; zeros in
front contribute nothing, so that shorter records stand beside longer ones.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_HEADER, _FOOTER = 12, 4
_POLYNOMIAL = 0x82F63B78
_WIDEST = 1024
_TOGETHER = 1 << 22
_U64 = struct.Struct("<Q").unpack_from

LONGEST = 64 << 20
"""Bytes of a record that is looked at; one with a number in it has some fifty, one with pictures some millions."""


@dataclass(frozen=True)
class Frames:
    """Records in one piece of a file.

    Attributes:
        data: The piece.
        start: Where the records' data begin in it.
        length: How long they are.
        damaged: How many more there were whose data do not fit their checksum.
    """

    data: bytes
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    damaged: int


class Ending(Exception):
    """Why no further record can be read.

    Attributes:
        cut: Whether the file just stops within a record; otherwise it is damaged.
        place: Byte at which that record begins.
    """

    def __init__(self, cut: bool, place: int) -> None:
        super().__init__(cut, place)
        self.cut = cut
        self.place = place


def frames(pieces: Iterator[bytes]) -> Iterator[Frames]:
    """The records of a file, as many at a time as the pieces hold.

    Raises:
        Ending: The file does not end where a record does.
    """
    rest, before = b"", 0
    for piece in pieces:
        data = rest + piece
        starts, lengths, place = _walked(data)
        found, checked = _checked(data, np.array(starts, np.int64), np.array(lengths, np.int64))
        yield found
        if checked is not None:
            raise Ending(False, before + checked)
        rest = data[place:]
        before += place
        if len(rest) >= _HEADER and (_U64(rest, 0)[0] > LONGEST or not begins_record(rest)):
            raise Ending(False, before)
    if rest:
        raise Ending(True, before)


def _walked(data: bytes) -> tuple[list[int], list[int], int]:
    """Where whole records begin and how long they say they are, and where the first that is not whole begins."""
    starts, lengths, place, size = list[int](), list[int](), 0, len(data)
    while place + _HEADER <= size:
        (length,) = _U64(data, place)
        behind = place + length + _HEADER + _FOOTER
        if behind > size:
            break
        starts.append(place + _HEADER)
        lengths.append(length)
        place = behind
    return starts, lengths, place


def _checked(data: bytes, start: NDArray[np.int64], length: NDArray[np.int64]) -> tuple[Frames, int | None]:
    """Records whose checksums fit, and where the first one begins whose length cannot be trusted."""
    flat = np.frombuffer(data, np.uint8)
    wrong = _masked(crc32c(flat, start - _HEADER, np.full_like(length, 8))) != _number(flat, start - 4)
    trusted, ending = len(start), None
    if wrong.any():
        trusted = int(wrong.argmax())
        ending = int(start[trusted]) - _HEADER
    start, length = start[:trusted], length[:trusted]
    good = _masked(crc32c(flat, start, length)) == _number(flat, start + length)
    return Frames(data, start[good], length[good], int((~good).sum())), ending


def begins_record(data: bytes) -> bool:
    """Whether these bytes begin with a length and its checksum."""
    if len(data) < _HEADER:
        return False
    flat, first = np.frombuffer(data[:_HEADER], np.uint8), np.zeros(1, np.int64)
    return bool((_masked(crc32c(flat, first, first + 8)) == _number(flat, first + 8)).all())


def _number(flat: NDArray[np.uint8], place: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Little-endian numbers of four bytes."""
    return np.ascontiguousarray(flat[place[:, None] + np.arange(4)]).view("<u4")[:, 0]


def _masked(crc: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """As record files write it, so that data with checksums in them have none by accident."""
    masked: NDArray[np.uint32] = ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(0xA282EAD8)
    return masked


def crc32c(flat: NDArray[np.uint8], start: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.uint32]:
    """CRC-32C (Castagnoli et al. 1993) of spans of bytes.

    Args:
        flat: All bytes.
        start: Where the spans begin, [N].
        length: How long they are, [N].

    Returns:
        [N].
    """
    found = np.zeros(len(start), np.uint32)
    width = -(-length // 16) * 16
    width[(length < 4) | (width > _WIDEST)] = 0
    padded = np.concatenate([np.zeros(_WIDEST, np.uint8), flat])  # so that a window may begin before the first span
    for wide in np.unique(width).tolist():
        rows = np.flatnonzero(width == wide)
        if not wide:
            short = rows[length[rows] < 4]
            found[short] = [_short(flat[start[row] : start[row] + length[row]]) for row in short.tolist()]
            long = rows[length[rows] >= 4]
            found[long] = _long(flat, start[long], length[long])
            continue
        step = max(1, _TOGETHER // wide)
        for part in (rows[at : at + step] for at in range(0, len(rows), step)):
            found[part] = _side_by_side(padded, start[part] + _WIDEST, length[part], wide)
    return found


def _side_by_side(
    padded: NDArray[np.uint8], start: NDArray[np.int64], length: NDArray[np.int64], wide: int
) -> NDArray[np.uint32]:
    """Of spans that are not longer than ``wide`` and not shorter than four bytes."""
    byte = np.lib.stride_tricks.sliding_window_view(padded, wide)[start + length - wide]
    first = wide - length
    byte[np.arange(wide) < first[:, None]] = 0
    for at in range(4):  # the register begins with all bits set, which is the same as turning the first four bytes
        byte[np.arange(len(byte)), first + at] ^= 255
    return ~_added(byte)


def _added(byte: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """The register after every row of bytes, from 0."""
    table, wide = _contributions(), byte.shape[1]
    found = np.zeros(len(byte), np.uint32)
    for at in range(wide):
        found ^= table[wide - 1 - at][byte[:, at]]
    return found


def _short(data: NDArray[np.uint8]) -> int:
    """Of one span of less than four bytes."""
    table, register = _contributions(), 0xFFFFFFFF
    for byte in data.tolist():
        register = int(table[0][(register ^ byte) & 255]) ^ register >> 8
    return register ^ 0xFFFFFFFF


def _long(flat: NDArray[np.uint8], start: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Of spans of at least four bytes and any length: all blocks side by side, then those of each span in a row."""
    found = np.empty(len(start), np.uint32)
    blocks = -(-length // _WIDEST)
    at = 0
    while at < len(start):
        together = max(1, int(np.searchsorted(np.cumsum(blocks[at:]), _TOGETHER // _WIDEST)))
        part = slice(at, at + together)
        byte = np.zeros((int(blocks[part].sum()), _WIDEST), np.uint8)
        line, end = byte.reshape(-1), 0
        for first, size, own in zip(start[part].tolist(), length[part].tolist(), blocks[part].tolist(), strict=True):
            end += own * _WIDEST
            line[end - size : end] = flat[first : first + size]
            line[end - size : end - size + 4] ^= 255  # the register begins with all bits set
        registers = iter(_added(byte).tolist())
        found[part] = [_in_a_row([next(registers) for _ in range(own)]) for own in blocks[part].tolist()]
        at += together
    return ~found


def _in_a_row(blocks: list[int]) -> int:
    """The register after all blocks, from what each alone makes of it."""
    table, register = _contributions(), 0
    for block in blocks:
        # what the register holds counts as if it stood in the block's first bytes
        for at in range(4) if register else ():
            block ^= int(table[_WIDEST - 1 - at][register >> 8 * at & 255])
        register = block
    return register


@functools.cache
def _contributions() -> NDArray[np.uint32]:
    """What a byte does to the register, by how many bytes follow it and by its value, [1024, 256]."""
    first = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        first = np.where(first & 1, (first >> 1) ^ np.uint32(_POLYNOMIAL), first >> 1).astype(np.uint32)
    table = np.empty((_WIDEST, 256), np.uint32)
    table[0] = first
    for at in range(1, _WIDEST):
        table[at] = first[table[at - 1] & 255] ^ table[at - 1] >> 8
    return table
