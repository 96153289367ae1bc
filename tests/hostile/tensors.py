"""Files of torch.save whose tensors are not what they say: larger than their storage, of no size, or endless."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

from hostile.pickles import call, in_a_zip, mapping, name, number, pickled, storage, tensor, text
from hostile.registry import hostile, written


def _named(**tensors: bytes) -> bytes:
    return pickled(b"}(" + b"".join(text(key) + value for key, value in tensors.items()) + b"u")


def _file(folder: Path, content: bytes) -> Path:
    return written(folder, "file.pt", in_a_zip(content))


ENDLESS = (1 << 20, 1 << 20)


@hostile("checkpoint", "batch")
def endless_by_stride_0(folder: Path) -> Path:
    huge = tensor(ENDLESS, (0, 0))
    return _file(folder, _named(hidden=huge, actions=huge))


@hostile("checkpoint", "batch")
def gigabytes_by_stride_0(folder: Path) -> Path:
    """Small enough for the machine, if it were made dense."""
    huge = tensor((1 << 14, 1 << 16), (0, 0))
    return _file(folder, _named(hidden=tensor((1 << 14, 2), (0, 1)), actions=huge))


@hostile("checkpoint", "batch")
def many_large_by_stride_0(folder: Path) -> Path:
    each = tensor((4, 1 << 24), (0, 0))
    names = {f"cross.layer{n}.weight": each for n in range(400)}
    return _file(folder, _named(hidden=tensor((4, 2), (0, 1)), **names, negatives=each, actions=each))


@hostile("checkpoint")
def the_heads_own_keys_endless(folder: Path) -> Path:
    """The keys of the built-in architecture, with sizes that fit each other and no machine."""
    import torch

    from energydiag.models.cross_attention import CrossAttentionEnergy

    wide = 1 << 16
    with torch.device("meta"):
        state = CrossAttentionEnergy(12, 3, hidden=wide, nhead=2, head="linear").state_dict()
    entries = {key: tensor(tuple(value.shape), (0,) * value.dim()) for key, value in state.items()}
    rows = b"".join(text(key) + value for key, value in entries.items())
    return _file(folder, pickled(b"}(" + rows + b"u"))


@hostile("checkpoint", "batch")
def past_the_storage(folder: Path) -> Path:
    long = tensor((1 << 20,), (1,))
    return _file(folder, _named(hidden=long, actions=long))


@hostile("checkpoint", "batch")
def begins_behind_the_storage(folder: Path) -> Path:
    return _file(folder, _named(hidden=tensor((2, 1), (1, 1), offset=1 << 40), actions=tensor((2, 1), (1, 1))))


@hostile("checkpoint", "batch")
def begins_before_the_storage(folder: Path) -> Path:
    return _file(folder, _named(hidden=tensor((2, 1), (1, 1), offset=-4), actions=tensor((2, 1), (1, 1))))


@hostile("checkpoint", "batch")
def negative_sizes(folder: Path) -> Path:
    return _file(folder, _named(hidden=tensor((-2, -1)), actions=tensor((-2, -1))))


@hostile("checkpoint", "batch")
def negative_strides(folder: Path) -> Path:
    return _file(folder, _named(hidden=tensor((2, 1), (-1, -1)), actions=tensor((2, 1), (-1, -1))))


@hostile("checkpoint", "batch")
def sizes_whose_product_overflows(folder: Path) -> Path:
    odd = tensor((1 << 32, 1 << 32), (0, 0))
    return _file(folder, _named(hidden=odd, actions=odd))


@hostile("checkpoint", "batch")
def a_hundred_thousand_dimensions(folder: Path) -> Path:
    many = tensor((1,) * 100_000, (1,) * 100_000)
    return _file(folder, _named(hidden=many, actions=many))


@hostile("checkpoint")
def storage_that_says_more_than_it_has(folder: Path) -> Path:
    """As a dump it is read: torch cuts the storage off at the file's end, and the tensor fits into what is there."""
    lying = tensor((2, 1), (1, 1), count=1 << 28)
    return _file(folder, _named(hidden=lying, actions=lying))


@hostile("checkpoint", "batch")
def storage_that_is_missing(folder: Path) -> Path:
    lost = tensor((2, 1), (1, 1), key="7")
    return _file(folder, _named(hidden=lost, actions=lost))


@hostile("checkpoint", "batch")
def storage_of_negative_length(folder: Path) -> Path:
    odd = tensor((2, 1), (1, 1), count=-1)
    return _file(folder, _named(hidden=odd, actions=odd))


@hostile("checkpoint", "batch")
def sparse_with_indices_outside(folder: Path) -> Path:
    indices = tensor((1, 2), (2, 1), key="0")
    values = tensor()
    made = call(
        name("torch._utils", "_rebuild_sparse_tensor"),
        call(name("torch.serialization", "_get_layout"), text("torch.sparse_coo")),
        b"(" + indices + values + b"(" + number(1 << 30) + b"t" + b"\x89" + b"t",
    )
    return _file(folder, _named(hidden=made, actions=made))


@hostile("checkpoint", "batch")
def on_the_meta_device(folder: Path) -> Path:
    made = call(
        name("torch._utils", "_rebuild_meta_tensor_no_storage"),
        name("torch", "float32"),
        *(b"(" + b"".join(map(number, values)) + b"t" for values in ((1 << 20, 1 << 20), (1 << 20, 1))),
        b"\x89",
    )
    return _file(folder, _named(hidden=made, actions=made))


@hostile("checkpoint", "batch")
def quantized(folder: Path) -> Path:
    made = call(
        name("torch._utils", "_rebuild_qtensor"),
        storage(kind="QInt8Storage"),
        number(0),
        b"(" + number(2) + b"t",
        b"(" + number(1) + b"t",
        b"(" + name("torch", "per_tensor_affine") + b"G?\xf0\0\0\0\0\0\0" + number(0) + b"t",
        b"\x89",
        name("collections", "OrderedDict") + b")R",
    )
    return _file(folder, _named(hidden=made, actions=made))


@hostile("batch")
def complex_numbers(folder: Path) -> Path:
    made = call(
        name("torch._utils", "_rebuild_tensor_v2"),
        storage(count=1, kind="ComplexFloatStorage"),
        number(0),
        *(b"(" + number(1) + number(1) + b"t" for _ in range(2)),
        b"\x89",
        name("collections", "OrderedDict") + b")R",
    )
    return _file(folder, _named(hidden=made, actions=made))


@hostile("batch", told="layer_actions")
def ten_thousand_layers(folder: Path) -> Path:
    """A list of one tensor many times, which would be stacked."""
    one = tensor((2, 1, 1 << 20), (0, 0, 0)) + b"q\x05"
    listed = b"](" + one + b"h\x05" * 10_000 + b"e"
    dump = _named(hidden=tensor((2, 1), (1, 1)), actions=tensor((2, 1), (1, 1)), layer_actions=listed)
    return _file(folder, dump)


def _archive(folder: Path, entries: Mapping[str, bytes]) -> Path:
    path = folder / "file.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for entry, data in entries.items():
            archive.writestr(entry, data)
    return path


@hostile("checkpoint", "batch")
def storage_of_no_bytes(folder: Path) -> Path:
    content = pickled(mapping(tensor((2, 1), (1, 1)), text("hidden")))
    return _archive(folder, {"a/data.pkl": content, "a/data/0": b"", "a/version": b"3\n", "a/byteorder": b"little"})


@hostile("checkpoint")
def byteorder_of_no_machine(folder: Path) -> Path:
    content = pickled(mapping(tensor()))
    floats = struct.pack("<2f", 1.0, 2.0)
    return _archive(
        folder, {"a/data.pkl": content, "a/data/0": floats, "a/version": b"3\n", "a/byteorder": b"\x1b[31m"}
    )


@hostile("checkpoint")
def version_of_the_future(folder: Path) -> Path:
    content = pickled(mapping(tensor()))
    return _archive(folder, {"a/data.pkl": content, "a/data/0": b"\0" * 8, "a/version": b"9" * 5000})
