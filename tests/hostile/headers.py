"""safetensors whose headers lie."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from hostile.registry import hostile, written


def safetensors(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _file(folder: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    return written(folder, "file.safetensors", safetensors(header, data, length))


def entry(shape: Any, offsets: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@hostile("checkpoint", "batch")
def longer_than_the_file(folder: Path) -> Path:
    return _file(folder, b"{}", length=1 << 20)


@hostile("checkpoint", "batch")
def longer_than_any_machine(folder: Path) -> Path:
    return _file(folder, b"{}", length=(1 << 64) - 1)


@hostile("checkpoint", "batch")
def shorter_than_it_is(folder: Path) -> Path:
    return _file(folder, {"a": entry([1], [0, 4])}, b"\0" * 4, length=5)


@hostile("checkpoint", "batch")
def of_no_length(folder: Path) -> Path:
    return _file(folder, b"{}", length=0)


@hostile("checkpoint", "batch")
def overlapping(folder: Path) -> Path:
    return _file(folder, {"hidden": entry([2, 1], [0, 8]), "actions": entry([2, 1], [4, 12])}, b"\0" * 12)


@hostile("checkpoint", "batch")
def the_same_bytes_a_thousand_times(folder: Path) -> Path:
    return _file(folder, {f"a{n}": entry([1 << 18], [0, 1 << 20]) for n in range(4000)}, b"\0" * (1 << 20))


@hostile("checkpoint", "batch")
def outside(folder: Path) -> Path:
    return _file(folder, {"hidden": entry([2, 1], [1 << 40, (1 << 40) + 8])}, b"\0" * 8)


@hostile("checkpoint", "batch")
def reversed_offsets(folder: Path) -> Path:
    return _file(folder, {"hidden": entry([2, 1], [8, 0])}, b"\0" * 8)


@hostile("checkpoint", "batch")
def negative_offsets(folder: Path) -> Path:
    return _file(folder, {"hidden": entry([2, 1], [-8, 0])}, b"\0" * 8)


@hostile("checkpoint", "batch")
def offsets_that_overflow(folder: Path) -> Path:
    return _file(folder, {"hidden": entry([2, 1], [0, (1 << 64) - 1])}, b"\0" * 8)


@hostile("checkpoint", "batch")
def shape_that_overflows(folder: Path) -> Path:
    return _file(folder, {"hidden": entry([1 << 32, 1 << 32], [0, 0])})


@hostile("checkpoint", "batch")
def shape_without_end(folder: Path) -> Path:
    return _file(folder, {"hidden": entry([1 << 40, 1], [0, 8])}, b"\0" * 8)


@hostile("checkpoint", "batch")
def shape_below_zero(folder: Path) -> Path:
    return _file(folder, {"hidden": entry([-1, -2], [0, 8])}, b"\0" * 8)


@hostile("checkpoint", "batch")
def shape_of_fractions(folder: Path) -> Path:
    return _file(folder, {"hidden": entry([1.5], [0, 8])}, b"\0" * 8)


@hostile("checkpoint", "batch")
def huge_dimensions_of_nothing(folder: Path) -> Path:
    """Sizes without a byte: one of them is 0."""
    empty = entry([1 << 40, 0], [0, 0])
    return _file(folder, {"hidden": empty, "actions": empty, "state_linear.fc1.weight": empty})


@hostile("checkpoint", "batch")
def type_that_is_unknown(folder: Path) -> Path:
    return _file(folder, {"hidden": entry([1], [0, 4], "\x1b[31mF33\x1b[0m")}, b"\0" * 4)


@hostile("checkpoint", "batch")
def type_that_is_no_text(folder: Path) -> Path:
    return _file(folder, {"hidden": entry([1], [0, 4], {"a": []})}, b"\0" * 4)


@hostile("checkpoint", "batch")
def types_of_part_bytes(folder: Path) -> Path:
    """Four bits a number, which not every library has."""
    return _file(folder, {"hidden": entry([3], [0, 2], "F4"), "actions": entry([3], [2, 4], "F6_E2M3")}, b"\0" * 4)


@hostile("checkpoint", "batch")
def keys_that_stand_twice(folder: Path) -> Path:
    one = json.dumps(entry([2, 1], [0, 8]))
    return _file(folder, f'{{"hidden": {one}, "hidden": {json.dumps(entry([1], [0, 4]))}}}'.encode(), b"\0" * 8)


@hostile("checkpoint", "batch")
def header_of_a_hundred_megabytes(folder: Path) -> Path:
    return _file(folder, b'{"' + b"a" * (99 << 20) + b'": 3}')


@hostile("checkpoint", "batch")
def header_above_the_limit(folder: Path) -> Path:
    path = folder / "file.safetensors"
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", 1 << 32) + b'{"a":')
        stream.truncate((1 << 32) + 100)  # a hole
    return path


@hostile("checkpoint", "batch")
def header_of_deep_json(folder: Path) -> Path:
    return _file(folder, b'{"a":' * 500_000 + b"1" + b"}" * 500_000)


@hostile("checkpoint", "batch")
def metadata_of_deep_json(folder: Path) -> Path:
    return _file(folder, b'{"__metadata__": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001)


@hostile("checkpoint", "batch")
def metadata_that_is_no_text(folder: Path) -> Path:
    return _file(folder, {"__metadata__": {"head": {"a": 1}, "nhead": 3}})


@hostile("checkpoint")
def metadata_of_megabytes(folder: Path) -> Path:
    header = {"__metadata__": {"head": "h" * (20 << 20)}, "hidden": entry([1], [0, 4])}
    return _file(folder, header, b"\0" * 4)


@hostile("checkpoint", "batch")
def fifty_thousand_keys(folder: Path) -> Path:
    header = {f"layer.{n}": entry([0], [0, 0]) for n in range(50_000)}
    return _file(folder, header)


@hostile("checkpoint", "batch")
def key_of_megabytes(folder: Path) -> Path:
    return _file(folder, {"k" * (10 << 20): entry([1], [0, 4])}, b"\0" * 4)


@hostile("checkpoint", "batch")
def more_bytes_than_told(folder: Path) -> Path:
    return _file(folder, {"hidden": entry([1], [0, 4])}, b"\0" * 400)


@hostile("checkpoint", "batch")
def half_a_character(folder: Path) -> Path:
    return _file(folder, b'{"\\ud800": ' + json.dumps(entry([1], [0, 4])).encode() + b"}", b"\0" * 4)


@hostile("checkpoint", "batch")
def no_utf8(folder: Path) -> Path:
    return _file(folder, b'{"\xff\xfe": 1}')


@hostile("checkpoint", "batch")
def numbers_without_end(folder: Path) -> Path:
    return _file(folder, b'{"hidden": {"dtype": "F32", "shape": [1e999], "data_offsets": [0, 4]}}', b"\0" * 4)


@hostile("checkpoint", "batch")
def nine_bytes(folder: Path) -> Path:
    return _file(folder, b"{")


@hostile("checkpoint", "batch")
def a_list(folder: Path) -> Path:
    return _file(folder, b"[1, 2]")
