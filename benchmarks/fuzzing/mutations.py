"""Ways in which a file is broken."""

from __future__ import annotations

import contextlib
import io
import json
import pickletools
import random
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.fuzzing.targets import LARGEST, Folder


def flipped(data: bytearray, _other: bytes, dice: random.Random) -> None:
    for _ in range(dice.choice((1, 1, 2, 8))):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def overwritten(data: bytearray, _other: bytes, dice: random.Random) -> None:
    data[dice.randrange(len(data))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))


def cut_off(data: bytearray, _other: bytes, dice: random.Random) -> None:
    del data[dice.randrange(len(data)) :]


def cut_out(data: bytearray, _other: bytes, dice: random.Random) -> None:
    start = dice.randrange(len(data))
    del data[start : start + dice.choice((1, 2, 4, 8, 64))]


def repeated(data: bytearray, _other: bytes, dice: random.Random) -> None:
    start = dice.randrange(len(data))
    data[start:start] = data[start : start + dice.choice((1, 4, 16, 128))] * dice.choice((1, 2, 20))


def spliced(data: bytearray, other: bytes, dice: random.Random) -> None:
    start, place = dice.randrange(len(other) or 1), dice.randrange(len(data))
    data[place : place + dice.choice((0, 4, 32))] = other[start : start + dice.choice((4, 32, 256))]


def length_lied(data: bytearray, _other: bytes, dice: random.Random) -> None:
    size = dice.choice((2, 4, 8))
    place = dice.randrange(len(data))
    value = dice.choice((0, 1, 2 ** (8 * size) - 1, 2 ** (8 * size - 1), 1 << 20, len(data), len(data) + 1))
    data[place : place + size] = (value % 2 ** (8 * size)).to_bytes(size, "little")


def number_lied(data: bytearray, _other: bytes, dice: random.Random) -> None:
    """A run of digits becomes another number."""
    numbers = [found.span() for found in re.finditer(rb"[0-9]+", data)]
    if numbers:
        start, end = dice.choice(numbers)
        data[start:end] = dice.choice((b"-1", b"0", b"1e999", b"9" * 30, b"NaN", b"1.5", b"null", b"[]", b'"a"', b"{}"))


_WORDS = (
    *(b"null", b'"\\ud800"', b"../x", b"\x1b[2J", b"\0", b"\n", b'"', b",", b"{", b"}", b"[", b"]", b";", b"\t", b":"),
    *(b"cos\nsystem\n", b"R", b"b", b"Q", b"\x81", b"\x93", b"\x94", b"2", b"0", b"1", b"(", b"t", b"u", b"e", b"s"),
    *(b")", b"}", b"]", b"\x8f", b"N", b"\x85", b"h\0", b"q\0", b"a", b"\x88", b"F1\n", b"G\x7f\xf0\0\0\0\0\0\0"),
    *(b"\x86", b"\x87", b"K\0", b"J\0\0\0\x40", b"]J\0\0\0\x40a", b"h\1", b"h\2", b"U\6latin1", b")R", b"\x85R", b"]R"),
    *(b"c" + name.replace(b".", b"\n") + b"\n" for name in (b"torch.Size", b"torch.float16", b"torch.FloatTensor")),
    *(b"cbuiltins\n" + name + b"\n" for name in (b"bytearray", b"set", b"complex")),
    *(b"ccollections\n" + name + b"\n" for name in (b"OrderedDict", b"Counter")),
    *(b"ctorch._utils\n_rebuild_" + name + b"\n" for name in (b"parameter", b"sparse_tensor", b"qtensor", b"tensor")),
    *(b"ctorch._utils\n_rebuild_device_tensor_from_cpu_tensor\n", b"ctorch._tensor\n_rebuild_from_type_v2\n"),
    *(b"c_codecs\nencode\n", b"ctorch.serialization\n_get_layout\n", b"ctorch\ndevice\n"),
)
"""Of JSON, CSV and pickles; the names are those that torch allows a pickle to call."""


def worded(data: bytearray, _other: bytes, dice: random.Random) -> None:
    place = dice.randrange(len(data))
    data[place : place + dice.choice((0, 1, 4))] = dice.choice(_WORDS)


def inside_of_a_pickle(data: bytearray, _other: bytes, dice: random.Random) -> None:
    """An opcode, with its argument, is left out, doubled, moved or replaced by another one."""
    pickles = [found.start() for found in re.finditer(rb"\x80[\x02-\x05]", data)]
    if not pickles:
        return
    places: list[int] = []
    with contextlib.suppress(Exception):
        for _, _, place in pickletools.genops(bytes(data[dice.choice(pickles) :])):
            places.append(place or 0)  # what was found before it breaks is wanted
    if len(places) < 2:
        return
    number, other = dice.randrange(len(places) - 1), dice.randrange(len(places) - 1)
    one = data[places[number] : places[number + 1]]
    data[places[other] : places[other + dice.randrange(2)]] = dice.choice((b"", one, one * 2, dice.choice(_WORDS)))


_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**63, 10**400, 1e308, 0.5, float("nan"), float("inf"), "", "a", "\ud800", "\x1b[2J"),
    *([], {}, [[]], [None], ["a"], {"a": 1}, "9" * 400, "../x", [1, 2], [0.4, 0.6]),
)


def inside_of_json(data: bytearray, other: bytes, dice: random.Random) -> None:
    """A value somewhere inside replaced, left out, or put somewhere else."""
    try:
        whole = [json.loads(data)]
        theirs = json.loads(other) if dice.randrange(4) == 0 else dice.choice(_VALUES)
    except (ValueError, RecursionError):
        return
    places = list(_places(whole))
    place, key = dice.choice(places)
    there, at = dice.choice(places)
    what = dice.randrange(4)
    if what == 0 and place is not whole:
        del place[key]
    elif what == 1:
        place[key] = json.loads(json.dumps(there[at]))
    elif what == 2 and isinstance(place, dict):
        place[dice.choice(("", "a", "kind", "\x1b[2J", "\ud800"))] = place.pop(key)
    else:
        place[key] = theirs
    data[:] = json.dumps(whole[0]).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container and key in nested ones."""
    todo = [value]
    while todo:
        one = todo.pop()
        for key, inner in one.items() if isinstance(one, dict) else enumerate(one):
            yield one, key
            if isinstance(inner, dict | list):
                todo.append(inner)


_SETTINGS = (
    *("inf", "nan", "-1", "0", "9" * 400, "9" * 5000, "1e400", "1979-05-27T07:32:00Z", "07:32:00", "true", "''", "[]"),
    *("{}", "[[]]", "[1, 'a']", "{a = 1}", '"\\u001b[2J"', '"1.5"', "2" + "0" * 30, "[" * 300, '"""a\nb"""', "0x1F"),
)


def inside_of_a_setting(data: bytearray, _other: bytes, dice: random.Random) -> None:
    """A line ``name = value`` of TOML gets another value, or another line's."""
    lines = data.split(b"\n")
    settings = [number for number, line in enumerate(lines) if b"=" in line]
    if settings:
        number = dice.choice(settings)
        name, _, value = lines[number].partition(b"=")
        theirs = lines[dice.choice(settings)].partition(b"=")[2] if dice.randrange(3) == 0 else value
        value = theirs if theirs != value else dice.choice(_SETTINGS).encode()
        lines[number] = name + b"=" + dice.choice((value, value, b"[" + value + b"]"))
        data[:] = b"\n".join(lines)


def inside_of_a_line(data: bytearray, other: bytes, dice: random.Random) -> None:
    """One line of several is changed as JSON."""
    lines = data.split(b"\n")
    number = dice.randrange(len(lines))
    inside_of_json(lines[number], dice.choice(other.split(b"\n")), dice)
    data[:] = b"\n".join(lines)


def inside_of_a_header(data: bytearray, other: bytes, dice: random.Random) -> None:
    """The JSON of a safetensors file is changed, and its length with it."""
    size = int.from_bytes(data[:8], "little")
    if data[8:9] == b"{" and size <= len(data):
        header = data[8 : 8 + size]
        inside_of_json(header, other[8 : 8 + int.from_bytes(other[:8], "little")], dice)
        data[: 8 + size] = len(header).to_bytes(8, "little") + header


def inside_of_a_zip(data: bytearray, other: bytes, dice: random.Random) -> None:
    """An entry changed, and its checksum with it."""
    entries: dict[str, bytes] = {}
    with contextlib.suppress(Exception), zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()[:50]}
    if not entries:
        return
    name = dice.choice([*entries, *(name for name in entries if name.endswith(".pkl"))])
    content = bytearray(entries[name])
    for _ in range(dice.choice((1, 1, 3))):
        if content:
            dice.choice(PLAIN)(content, other, dice)
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w") as archive:
        warnings.simplefilter("ignore")
        for entry, old in entries.items():
            archive.writestr(zipfile.ZipInfo(entry), bytes(content) if entry == name else old)
    data[:] = stream.getvalue()


Mutation = Callable[[bytearray, bytes, random.Random], None]

PLAIN: tuple[Mutation, ...] = (
    *(flipped, overwritten, cut_off, cut_out, repeated, spliced, length_lied, number_lied, worded),
    *(inside_of_a_pickle,) * 4,
)


def fitting(data: bytes) -> tuple[Mutation, ...]:
    """The mutations for a file that begins like this; those that know the format come half of the time or more."""
    if data[:2] == b"PK":
        return (*PLAIN, *(inside_of_a_zip,) * 2 * len(PLAIN))  # elsewhere a checksum tells
    if data[:1] == b"\x80":
        return PLAIN
    if data[8:9] == b"{":
        return (*PLAIN[:9], *(inside_of_a_header,) * 9)
    if data[:1] == b"{":
        return (*PLAIN[:9], *(inside_of_json if data.count(b"\n{") < 2 else inside_of_a_line,) * 9)
    if b"energydiag" in data[:20]:
        return (*PLAIN[:9], *(inside_of_a_setting,) * 9)
    return PLAIN[:9]


def mutated(parent: Folder, other: Folder, dice: random.Random) -> Folder:
    """One file of an input changed, in one to four ways."""
    name = dice.choice(sorted(parent))
    data = bytearray(parent[name])
    foreign = other.get(name) or dice.choice(sorted(other.values()))
    kinds = fitting(data)
    for _ in range(dice.choice((1, 1, 2, 4))):
        if not data:
            break
        dice.choice(kinds)(data, foreign, dice)
    return {**parent, name: bytes(data[: max(LARGEST, 2 * len(parent[name]))])}
