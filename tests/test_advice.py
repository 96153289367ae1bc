"""What a message offers does no harm: neither the classes to allow nor the commands to copy."""

from __future__ import annotations

import re
import struct
import subprocess
import zipfile
from pathlib import Path

import pytest

from energydiag.errors import UnreadableFile, UsageError
from energydiag.files.allowed import allowing, is_plain_data, refused
from energydiag.files.tensor_file import read_tensor_file
from energydiag.runs.source import Candidate, Source


def named(name: str) -> bytes:
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def text(content: str) -> bytes:
    return b"X" + struct.pack("<I", len(content)) + content.encode()


def called(name: str, *arguments: bytes) -> bytes:
    return named(name) + b"(" + b"".join(arguments) + b"tR"


def checkpoint(folder: Path, inside: bytes) -> Path:
    """What torch.save would write of a dict with this in it."""
    path = folder / "checkpoint.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}" + text("model") + inside + b"s.")
        archive.writestr("a/version", "3\n")
    return path


def type_of(kind: str, state: bytes) -> bytes:
    """A numpy.dtype, with a state that its maker chose."""
    return called("numpy.dtype", text(kind), b"\x89\x88") + state + b"b"


def at_an_address(core: str) -> bytes:
    """A record whose one field is an object, and whose flags say that it holds none: eight bytes become its address."""
    object_ = type_of("O8", b"(K\x03" + text("|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ft")
    state = b"(K\x03" + text("|") + b"N" + text("a") + b"\x85}" + text("a") + object_ + b"K\x00\x86sK\x08K\x01K\x00t"
    raw = called("_codecs.encode", text("AAAABBBB"), text("latin1"))
    return called(f"numpy.{core}.multiarray.scalar", type_of("V8", state), raw)


@pytest.mark.parametrize("core", ["core", "_core"])
def test_a_message_never_leads_to_objects_at_an_address(core: str, tmp_path: Path) -> None:
    path = checkpoint(tmp_path, at_an_address(core))
    with pytest.raises(UnreadableFile, match="multiarray") as told:
        read_tensor_file(path, "checkpoint")
    assert "--allow-global" not in told.value.next_step
    assert "NumPy's numbers" in told.value.next_step
    for name in ("numpy.dtype", f"numpy.{core}.multiarray.scalar", "numpy.dtypes.VoidDType"):
        with pytest.raises(UsageError, match="more than hold data"), allowing((name,)):
            pass


HARMFUL = (
    *("numpy._core.multiarray._reconstruct", "numpy.core.multiarray.scalar", "numpy.ndarray", "numpy.dtype"),
    *(
        "numpy.dtypes.ObjectDType",
        "numpy.memmap",
        "numpy.ma.core.MaskedArray",
        "numpy.random._pickle.__randomstate_ctor",
    ),
    *(
        "torch._utils._rebuild_tensor_v2",
        "torch.storage.UntypedStorage",
        "torch.UntypedStorage",
        "torch.jit.ScriptModule",
    ),
    *("torch.multiprocessing.reductions.rebuild_storage_fd", "torch.serialization.pickle._Unpickler"),
    *("ctypes.c_void_p", "ctypes.CDLL", "_ctypes.Structure", "codecs.encode", "codecs.StreamReader", "_codecs.decode"),
    *("functools.partial", "_functools.partial", "operator.methodcaller", "_operator.attrgetter", "builtins.getattr"),
    *(
        "builtins.eval",
        "__builtin__.eval",
        "builtins.bytes",
        "builtins.range",
        "builtins.bytearray",
        "builtins.memoryview",
    ),
    *("builtins.type", "types.CodeType", "types.FunctionType", "io.FileIO", "_io.FileIO", "io.BytesIO", "mmap.mmap"),
    *("array.array", "pickle._Unpickler", "copyreg._reconstructor", "logging.FileHandler", "logging.threading.Thread"),
    *("pathlib.os.system", "argparse._sys.exit", "datetime.sys.exit", "collections.ChainMap", "uuid.os._wrap_close"),
    *("energydiag.dump.BatchWriter", "omegaconf.omegaconf.io.FileIO", "omegaconf.vendor.antlr4.FileStream.FileStream"),
    *(
        "ml_collections.config_dict.config_dict.Os",
        "omegaconf.OmegaConf",
        "argparse.Namespace\n",
        "argparse.Namespace;ls",
    ),
)


@pytest.mark.parametrize("name", HARMFUL)
def test_what_is_no_data_is_neither_offered_nor_allowed(name: str) -> None:
    assert not is_plain_data(name)
    assert "--allow-global" not in refused(Path("c.pt"), [name, "argparse.Namespace"]).next_step
    with pytest.raises(UsageError), allowing((name,)):
        pass


OWN = """
import collections.abc, ctypes, dataclasses, enum, functools, io, subprocess, threading, typing
import numpy, torch

Thing = typing.TypeVar("Thing")
class Config(dict): pass
class Kind(str, enum.Enum): A = "a"
class Pair(typing.NamedTuple): a: int
@dataclasses.dataclass
class Options: rate: float = 1e-3
class Box(typing.Generic[Thing]): pass
class Names(collections.abc.MutableMapping): pass

class Program(subprocess.Popen): pass
class Array(numpy.ndarray): pass
class Tensor(torch.Tensor): pass
class Meta(type): pass
class Call(functools.partial): pass
class File(io.FileIO): pass
class Record(ctypes.Structure): pass
maker = type
def make(): pass
"""


def test_the_users_own_classes_are_allowed_as_far_as_they_are_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_of_advice.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("Config", "Kind", "Pair", "Options", "Box", "Names"):
        with allowing((f"own_of_advice.{name}",)):
            pass
    others = ("Program", "Array", "Tensor", "Meta", "Call", "File", "Record", "maker", "make", "threading.Thread")
    for name in (*others, "Kind.A", "functools.partial", "subprocess.Popen", "numpy.ndarray"):
        with pytest.raises(UsageError), allowing((f"own_of_advice.{name}",)):
            pass


def test_following_the_advice_reads_plain_data_and_ends(tmp_path: Path) -> None:
    """As often as a message offers something it is done; the file is read, or nothing more is offered."""
    namespace = named("argparse.Namespace") + b")\x81}" + text("lr") + b"K\x01sb"
    for inside, is_read in ((namespace, True), (called("builtins.bytes", b"K\x09"), False)):
        path = checkpoint(tmp_path, inside)
        offered: list[str] = []
        for _ in range(5):
            try:
                with allowing(offered):
                    read_tensor_file(path, "checkpoint")
                break
            except UnreadableFile as error:
                more = re.findall(r"--allow-global (\S*\w)", error.next_step)
                if set(more) <= set(offered):
                    break
                offered += more
        assert offered == (["argparse.Namespace"] if is_read else [])


def test_a_command_from_a_strangers_names_survives_the_shell(tmp_path: Path) -> None:
    """The folder's name would leave quotes that were put by hand; the shell must give back what was meant."""
    from energydiag.pipeline.baselines import read_baseline

    base = tmp_path / "a'$(touch ran)'b; touch ran"
    base.write_text("{}")
    with pytest.raises(UnreadableFile) as told:
        read_baseline(base, "runs")
    words = told.value.next_step.partition(" --save-baseline ")[2].removesuffix(".")
    done = subprocess.run(["sh", "-c", f"printf %s {words}"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == str(base)
    assert not (tmp_path / "ran").exists()


def test_a_run_named_by_a_stranger_survives_the_shell(tmp_path: Path) -> None:
    """The command that names one run of several is copied as it stands."""
    key = "a'$(touch ran)'b"
    with pytest.raises(UsageError) as told:
        Source(Path("-db.sqlite")).chosen([Candidate(key, ""), Candidate("other", "")])
    command = told.value.next_step.partition("energydiag inspect run ")[2].removesuffix(".")
    done = subprocess.run(
        ["sh", "-c", f"printf %s {command}"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"./-db.sqlite#{key}"
    assert not (tmp_path / "ran").exists()
