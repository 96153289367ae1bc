"""Globals that a pickle may ask for: those that torch allows by itself, and those that the user named."""

from __future__ import annotations

import importlib
import io
import re
import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from energydiag.errors import UnreadableFile, UsageError
from energydiag.files.names import shown

_SHOWN_GLOBALS = 5
_PLAIN = re.compile(
    r"argparse\.Namespace|types\.SimpleNamespace|collections\.(defaultdict|deque)|typing\.Any"
    r"|pathlib\.(Pure)?(Posix|Windows)?Path|pathlib\._local\.(Pure)?(Posix|Windows)?Path"
    r"|datetime\.(datetime|date|timedelta)|decimal\.Decimal|uuid\.UUID"
    r"|builtins\.(dict|list|tuple|frozenset|int|float|str|bool|slice)"
    r"|numpy\.(bool_|u?int(8|16|32|64)|float(16|32|64))"
    r"|omegaconf\.(dictconfig\.DictConfig|listconfig\.ListConfig|base\.(ContainerM|M)etadata)"
    r"|omegaconf\.nodes\.(Any|String|Integer|Float|Boolean|Bytes|Path|Enum)Node"
    r"|easydict\.EasyDict|addict\.addict\.Dict"
    r"|ml_collections\.config_dict\.config_dict\.((Frozen)?ConfigDict|FieldReference)"
)
"""Classes of plain data, which a message may tell the user to allow. Each by its whole name: a package's modules reach
others (``omegaconf.omegaconf.io.FileIO`` empties files). NumPy's numbers and arrays are none of them: what rebuilds
them takes raw bytes for addresses where the file's own description of their type says so."""

_NOT_DATA = sys.stdlib_module_names | {
    *("__builtin__", "numpy", "torch", "energydiag", "cffi", "_cffi_backend", "cupy", "numba", "cloudpickle", "dill")
}
"""Packages whose classes open files, start programs, hold code or take bytes for objects: none is allowed that is not
known as plain data, whoever names it."""

_BASES = frozenset(
    {"builtins", "abc", "argparse", "collections", "collections.abc", "datetime", "enum", "types", "typing"}
)
"""Modules of these whose classes a class of plain data may inherit from."""

_TYPE_IN_MESSAGE = re.compile(r"<class '([\w.]+)'>")


def is_plain_data(name: str) -> bool:
    """Whether this is a known class of plain data."""
    return _PLAIN.fullmatch(name) is not None


def not_allowed(names: Sequence[str]) -> list[str]:
    """Those of some dotted names that torch's safe unpickler refuses now."""
    from torch.serialization import get_unsafe_globals_in_checkpoint

    archive = io.BytesIO()  # torch tells it of files of its zip form, so here is one that asks for them
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("a/data.pkl", b"\x80\x02" + b"".join(map(_global, names)) + b"N.")
        written.writestr("a/version", "3\n")
    archive.seek(0)
    try:
        return sorted(get_unsafe_globals_in_checkpoint(archive))
    except Exception:  # names that torch cannot even read stay refused
        return sorted(names)


def _global(name: str) -> bytes:
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n".encode("utf-8", "surrogatepass")


def refused(path: Path, names: Sequence[str]) -> UnreadableFile:
    """The error for a pickle that asks for more than tensors.

    Args:
        path: The file.
        names: Dotted names of what it asks for; a stranger's text.
    """
    listed = ", ".join(shown(name) for name in names[:_SHOWN_GLOBALS])
    listed += f" and {len(names) - _SHOWN_GLOBALS} more" if len(names) > _SHOWN_GLOBALS else ""
    next_step = "save tensors only: torch.save(model.state_dict(), path), not torch.save(model, path)"
    if any(name.startswith("numpy.") for name in names):
        next_step += "; turn NumPy's numbers and arrays into Python's and torch's"
    if all(is_plain_data(name) for name in names):
        options = " ".join(f"--allow-global {name}" for name in names)
        next_step += f"; or, if you expect these classes of plain data in it, add {options}"
    return UnreadableFile(f"{path} is a pickle that asks for {listed}; it was not run.", next_step + ".")


def type_refused(error: BaseException) -> list[str]:
    """The class that torch would not fill with data, where its error says so."""
    text = str(error)
    return _TYPE_IN_MESSAGE.findall(text)[:1] if "Can only build" in text else []


@contextmanager
def allowing(names: Sequence[str]) -> Iterator[None]:
    """Lets torch's safe unpickler use what the user named, for the block.

    Args:
        names: Dotted names, which are imported.

    Raises:
        UsageError: One cannot be imported, or is no class.
    """
    from torch.serialization import safe_globals

    with safe_globals([(_imported(name), name) for name in names]):
        yield


def _imported(name: str) -> Any:
    if name.partition(".")[0] in _NOT_DATA and not is_plain_data(name):
        raise _no_data(name)
    parts = name.split(".")
    thing: Any = None
    for length in range(len(parts) - 1, 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:length]))
            for part in parts[length:]:
                thing = getattr(thing, part)
            break
        except Exception:  # a package may raise anything when it is imported
            thing = None
    if thing is None:
        raise UsageError(
            f"--allow-global {name} cannot be imported.",
            "give the whole dotted name that the error shows, and install its package.",
        )
    if is_plain_data(name):
        return thing
    if not isinstance(thing, type):
        raise UsageError(f"--allow-global {name} is no class.", "name classes of plain data only.")
    if not _is_data(thing):
        raise _no_data(name)
    return thing


def _is_data(kind: type) -> bool:
    """Whether a class is defined outside of these packages, and so is all that it inherits from, but for plain bases.

    A package's own name for another's class (``logging`` has ``threading``) is that other's.
    """
    own, *bases = (known for known in kind.__mro__ if known is not object)
    return (
        not issubclass(kind, type)
        and not _is_listed(own)
        and all(not _is_listed(base) or base.__module__ in _BASES for base in bases)
    )


def _is_listed(kind: type) -> bool:
    return str(kind.__module__).partition(".")[0] in _NOT_DATA


def _no_data(name: str) -> UsageError:
    return UsageError(
        f"--allow-global {name} would let the file do more than hold data.", "name classes of plain data only."
    )
