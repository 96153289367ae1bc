"""Zip archives that are bombs, that lie, or of which two readers see two things."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from hostile.pickles import a_global, bytearray_of_gigabytes, in_a_zip, mapping, pickled, tensor, text, zip_entries
from hostile.registry import MARKER, hostile, written

GIGABYTES = 3
"""What a bomb unpacks to: more than is allowed, less than the machine has."""


def benign() -> bytes:
    return pickled(b"}(" + text("hidden") + tensor((2, 1), (1, 1)) + text("actions") + tensor((2, 1), (1, 1)) + b"u")


def zeros(megabytes: int, before: bytes = b"") -> bytes:
    """Deflated zeros behind something else: one megabyte that stands for itself, many times."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(before) + packer.flush(zlib.Z_FULL_FLUSH)
    one = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + one * megabytes + packer.flush()


def _entry(
    name: bytes, packed: bytes, size: int, offset: int, method: int = 8, version: int = 20
) -> tuple[bytes, bytes]:
    """A local entry and its line in the directory, whatever is true."""
    crc = 0
    local = struct.pack("<4s5H3I2H", b"PK\3\4", version, 0, method, 0, 0x21, crc, len(packed), size, len(name), 0)
    line = struct.pack(
        "<4s6H3I5H2I",
        b"PK\1\2",
        version,
        version,
        0,
        method,
        0,
        0x21,
        crc,
        len(packed),
        size,
        len(name),
        0,
        0,
        0,
        0,
        0,
        offset,
    )
    return local + name + packed, line + name


def archive_of(entries: Iterable[tuple[bytes, bytes, int, int, int]]) -> bytes:
    """An archive of (name, packed, unpacked size, method, version), with what is said of them unchecked."""
    body, lines = b"", []
    for name, packed, size, method, version in entries:
        local, line = _entry(name, packed, size, len(body), method, version)
        body += local
        lines.append(line)
    return body + directory_of(lines, len(body))


def directory_of(lines: Sequence[bytes], start: int) -> bytes:
    """What stands behind the entries: the directory, which begins at this byte, and the end of the archive."""
    directory, count = b"".join(lines), min(len(lines), 0xFFFF)
    return directory + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, count, count, len(directory), start, 0)


@hostile("checkpoint", "batch")
def deflated_pickle_of_gigabytes(folder: Path) -> Path:
    size = GIGABYTES << 30
    content = archive_of(
        [(b"archive/data.pkl", zeros(GIGABYTES << 10), size, 8, 20), (b"archive/version", b"3\n", 2, 0, 20)]
    )
    return written(folder, "file.pt", content)


@hostile("checkpoint", "batch")
def deflated_pickle_that_says_it_is_small(folder: Path) -> Path:
    content = archive_of(
        [(b"archive/data.pkl", zeros(GIGABYTES << 10), 100, 8, 20), (b"archive/version", b"3\n", 2, 0, 20)]
    )
    return written(folder, "file.pt", content)


@hostile("checkpoint", "batch")
def deflated_pickle_that_python_cannot_list(folder: Path) -> Path:
    """A version that Python's zipfile refuses and torch's reader ignores."""
    size = GIGABYTES << 30
    content = archive_of(
        [(b"archive/data.pkl", zeros(GIGABYTES << 10), size, 8, 99), (b"archive/version", b"3\n", 2, 0, 20)]
    )
    return written(folder, "file.pt", content)


@hostile("checkpoint", "batch")
def deflated_storage_of_gigabytes(folder: Path) -> Path:
    size = GIGABYTES << 30
    entries = [
        (name.encode(), data, len(data), 0, 20) for name, data in zip_entries(benign()).items() if "/data/" not in name
    ]
    content = archive_of([*entries, (b"archive/data/0", zeros(GIGABYTES << 10), size, 8, 20)])
    return written(folder, "file.pt", content)


@hostile("checkpoint", "batch")
def deflated_and_small(folder: Path) -> Path:
    return written(folder, "file.pt", in_a_zip(benign(), zipfile.ZIP_DEFLATED))


@hostile("checkpoint", "batch")
def deflated_and_alive(folder: Path) -> Path:
    return written(folder, "file.pt", in_a_zip(a_global(str(folder / MARKER)), zipfile.ZIP_DEFLATED))


@hostile("batch")
def npz_of_gigabytes(folder: Path) -> Path:
    """Zeros that a header calls an array."""
    header = (
        b"\x93NUMPY\x01\x00v\x00"
        + b"{'descr': '<f4', 'fortran_order': False, 'shape': (805306368, 1), }".ljust(117)
        + b"\n"
    )
    packed = zeros(GIGABYTES << 10, header)
    size = len(header) + (GIGABYTES << 30)
    entries = [(n, packed, size, 8, 20) for n in (b"hidden.npy", b"actions.npy")]
    return written(folder, "dump.npz", archive_of(entries))


@hostile("batch")
def npz_of_gigabytes_in_many_entries(folder: Path) -> Path:
    """Each of them is below what one may have."""
    content = zeros(64)
    entries = [(f"a{n}.npy".encode(), content, 64 << 20, 8, 20) for n in range(64)]
    return written(folder, "dump.npz", archive_of(entries))


@hostile("batch")
def npz_that_says_it_is_small(folder: Path) -> Path:
    entries = [(n, zeros(GIGABYTES << 10), 100, 8, 20) for n in (b"hidden.npy", b"actions.npy")]
    return written(folder, "dump.npz", archive_of(entries))


@hostile("batch")
def npz_that_says_it_is_endless(folder: Path) -> Path:
    entries = [(n, zeros(1), 0xFFFFFFF0, 8, 20) for n in (b"hidden.npy", b"actions.npy")]
    return written(folder, "dump.npz", archive_of(entries))


@hostile("checkpoint", "batch")
def archive_in_an_archive(folder: Path) -> Path:
    """Forty-two kinds of it exist; none is opened twice."""
    inner = in_a_zip(a_global(str(folder / MARKER)))
    for level in range(6):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for copy in range(4):
                archive.writestr(f"{level}-{copy}/data.pkl", inner)
        inner = stream.getvalue()
    return written(folder, "file.pt", inner)


@hostile("checkpoint", "batch")
def fifty_thousand_entries(folder: Path) -> Path:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", benign())
    small = stream.getvalue()
    body = small[: small.rfind(b"PK\1\2")]
    lines = [_entry(b"archive/data/%d" % (number + 1), b"", 0, 0, 0)[1] for number in range(50_000)]
    lines.append(_entry(b"archive/data.pkl", benign(), len(benign()), 0, 0)[1])
    return written(folder, "file.pt", body + directory_of(lines, len(body)))


@hostile("batch")
def npz_of_sixty_thousand_entries(folder: Path) -> Path:
    lines = [_entry(b"a%d.npy" % number, b"", 0, 0, 0)[1] for number in range(60_000)]
    body = _entry(b"a0.npy", b"", 0, 0, 0)[0]
    return written(folder, "dump.npz", body + directory_of(lines, len(body)))


@hostile("checkpoint", "batch")
def entries_that_overlap(folder: Path) -> Path:
    """Every name leads to the same bytes, as in Fifield's bomb."""
    entries = zip_entries(benign())
    packed = zeros(64)
    local, _ = _entry(b"archive/data/0", packed, 64 << 20, 0)
    lines = [_entry(f"archive/data/{n}".encode(), packed, 64 << 20, 0)[1] for n in range(2000)]
    body = local
    for name, data in entries.items():
        if "/data/" in name:
            continue
        made, line = _entry(name.encode(), data, len(data), len(body), 0)
        body += made
        lines.append(line)
    return written(folder, "file.pt", body + directory_of(lines, len(body)))


@hostile("checkpoint", "batch")
def records_that_overlap(folder: Path) -> Path:
    """Every checksum is that of the same thirty megabytes."""
    body, first = _entry(b"archive/data.pkl", benign(), len(benign()), 0, 0)
    size = 30 << 20
    local, _ = _entry(b"archive/0", bytes(size), size, len(body), 0)
    lines = [first, *(_entry(b"archive/%d" % n, bytes(size), size, len(body), 0)[1] for n in range(400))]
    body += local
    return written(folder, "file.pt", body + directory_of(lines, len(body)))


@hostile("checkpoint", "batch")
def pickle_of_a_hole(folder: Path) -> Path:
    """Gigabytes that take no room on the disk."""
    size = 3 << 30
    name = b"archive/data.pkl"
    local, line = _entry(name, b"", size, 0, 0)
    line = line[:20] + struct.pack("<I", size) + line[24:]
    end = directory_of([line], len(local) + size)
    path = written(folder, "file.pt", local)
    with path.open("r+b") as stream:
        stream.seek(len(local) + size)
        stream.write(end)
    return path


@hostile("checkpoint", "batch")
def entry_before_the_file(folder: Path) -> Path:
    """The directory is longer than it says, so that offsets are counted from before the first byte."""
    whole = bytearray(in_a_zip(benign()))
    at = whole.rfind(b"PK\5\6")
    start = int.from_bytes(whole[at + 16 : at + 20], "little")
    whole[at + 16 : at + 20] = struct.pack("<I", start + 7)
    return written(folder, "file.pt", bytes(whole))


@hostile("checkpoint")
def two_pickles_of_one_name(folder: Path) -> Path:
    """One reader takes the first, another the last."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("archive/data.pkl", benign())
        for name, data in zip_entries(a_global(str(folder / MARKER))).items():
            archive.writestr(name, data)
    return written(folder, "file.pt", stream.getvalue())


def _renamed(content: bytes, names: dict[str, str]) -> bytes:
    """An archive of a harmless pickle, and of this one under another name."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in zip_entries(content).items():
            archive.writestr(names.get(name, name), data)
        archive.writestr("archive/seemingly_data.pkl", benign())
    return stream.getvalue()


@hostile("checkpoint", "batch")
def pickle_in_capitals(folder: Path) -> Path:
    """Torch's reader of archives finds it, whoever compares names to the letter does not."""
    large = bytearray_of_gigabytes("")
    return written(folder, "file.pt", _renamed(large, {"archive/data.pkl": "archive/DATA.pkl"}))


@hostile("checkpoint", "batch")
def pickle_twice_in_other_letters(folder: Path) -> Path:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", benign())
        for entry, data in zip_entries(bytearray_of_gigabytes("")).items():
            archive.writestr(entry.replace("data.pkl", "Data.pkl"), data)
    return written(folder, "file.pt", stream.getvalue())


@hostile("checkpoint", "batch")
def name_with_an_end_in_it(folder: Path) -> Path:
    """Python's zipfile shows a name up to its first zero."""
    whole = _renamed(a_global(str(folder / MARKER)), {"archive/version": "archive/data.pkl_x"})
    return written(folder, "file.pt", whole.replace(b"archive/data.pkl_x", b"archive/data.pkl\0x"))


@hostile("checkpoint", "batch")
def names_that_lead_out(folder: Path) -> Path:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in zip_entries(a_global(str(folder / MARKER)), "../../..").items():
            archive.writestr(name, data)
    return written(folder, "file.pt", stream.getvalue())


@hostile("checkpoint", "batch")
def comment_with_a_second_end(folder: Path) -> Path:
    """The archive's comment is the end of another one."""
    one, other = in_a_zip(benign()), in_a_zip(a_global(str(folder / MARKER)))
    return written(folder, "file.pt", one[:-2] + struct.pack("<H", len(other)) + other)


@hostile("checkpoint", "batch")
def directory_outside_of_the_file(folder: Path) -> Path:
    whole = bytearray(in_a_zip(benign()))
    whole[-6:-2] = struct.pack("<I", 0xFFFFFF00)
    return written(folder, "file.pt", bytes(whole))


@hostile("checkpoint", "batch")
def zip64_sizes_without_end(folder: Path) -> Path:
    whole = bytearray(in_a_zip(benign()))
    at = whole.find(b"PK\1\2")
    whole[at + 20 : at + 28] = b"\xff" * 8
    return written(folder, "file.pt", bytes(whole))


@hostile("checkpoint", "batch")
def encrypted(folder: Path) -> Path:
    whole = bytearray(in_a_zip(benign()))
    for sign, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = whole.find(sign)
        while at >= 0:
            whole[at + place] |= 1
            at = whole.find(sign, at + 4)
    return written(folder, "file.pt", bytes(whole))


@hostile("checkpoint", "batch")
def pickle_with_a_bad_crc(folder: Path) -> Path:
    whole = bytearray(in_a_zip(benign()))
    at = whole.find(benign())
    whole[at + len(benign()) // 2] ^= 0x40
    return written(folder, "file.pt", bytes(whole))


@hostile("batch")
def array_with_a_bad_crc(folder: Path) -> Path:
    import numpy

    stream = io.BytesIO()
    numpy.savez(stream, hidden=numpy.ones((3, 2), "f4"), actions=numpy.ones((3, 2), "f4"))
    whole = bytearray(stream.getvalue())
    at = whole.find(struct.pack("<f", 1.0) * 6)
    whole[at + 8] ^= 0x40
    return written(folder, "dump.npz", bytes(whole))


@hostile("batch")
def array_whose_entry_ends_behind_the_file(folder: Path) -> Path:
    """The array itself is whole; the bytes that should stand behind it are not there."""
    import numpy

    stream = io.BytesIO()
    numpy.savez(stream, hidden=numpy.ones((3, 2), "f4"), actions=numpy.ones((3, 2), "f4"))
    whole = bytearray(stream.getvalue())
    at = whole.rfind(b"PK\1\2")
    for place in (at + 20, at + 24):
        whole[place : place + 4] = struct.pack("<I", 1 << 20)
    return written(folder, "dump.npz", bytes(whole))


@hostile("checkpoint", "batch")
def end_of_an_archive_alone(folder: Path) -> Path:
    return written(folder, "file.pt", directory_of([], 0))


@hostile("checkpoint", "batch")
def other_archive(folder: Path) -> Path:
    """A zip of something else, such as a program that runs from a zip."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("__main__.py", f"open({str(folder / MARKER)!r}, 'w')")
    return written(folder, "file.pt", stream.getvalue())


@hostile("checkpoint", "batch")
def script_module(folder: Path) -> Path:
    """TorchScript's form, which holds code."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in (zip_entries(pickled(mapping(tensor()))) | {"archive/constants.pkl": pickled(b")")}).items():
            archive.writestr(name, data)
        archive.writestr("archive/code/__torch__.py", "def forward(self): pass\n")
    return written(folder, "file.pt", stream.getvalue())
