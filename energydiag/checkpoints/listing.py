"""From paths, patterns and folders to the checkpoints that are meant, in the order of the numbers in their names."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable
from pathlib import Path

from energydiag.discovery import discover
from energydiag.errors import UnreadableFile, first_line
from energydiag.files.tensor_file import Reader

SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
"""How files are called that are taken for checkpoints where a folder is named."""

_SAME_EVERYWHERE = ("model", "pytorch_model", "model.safetensors.index", "pytorch_model.bin.index")
"""How weights are called in a folder that is one checkpoint, without the suffix: the folder's name tells them apart."""

_SHARD = re.compile(r"-\d+-of-\d+$")
"""How files end that are a part of a checkpoint."""

_OTHER_STATE = re.compile(
    r"(optimizer|optim|scheduler|lr_scheduler|scaler|rng_state|random_states|training_args)\b|rng_"
)
"""How files begin that trainers write beside the weights."""

_SEVERAL = 2

_STEP = re.compile(r"(?:^|[^a-z])(?:global_?)?(?:steps?|iters?|iterations?)[-_=]*(\d+)", re.IGNORECASE)
_NUMBER = re.compile(r"(?:ckpt|checkpoint|epoch|(?<![0-9a-z.]))[-_=]*(?<![0-9])(\d+)(?![0-9a-z]|[.]\d)", re.IGNORECASE)


def is_pattern(path: str | Path) -> bool:
    """Whether this names files by a pattern, as in ``step_*.pt``, and is no file itself."""
    return glob.has_magic(str(path)) and not Path(path).exists()


def list_checkpoints(given: Iterable[str | Path], leave_out: Path | None = None) -> tuple[Path, ...]:
    """The checkpoints that are meant, each once, in natural order (``step_2`` before ``step_10``).

    Args:
        given: Files, patterns, folders that hold checkpoints, or folders that are one (as `read_tensor_file` takes
            them). A file that is named is taken, whether it is there or not.
        leave_out: A file that is none, whatever folder it is in: the batch dump.

    Raises:
        UnreadableFile: A pattern fits nothing, or a folder holds no checkpoint.
    """
    found: list[Path] = []
    for path in given:
        if is_pattern(path):
            fitting = [Path(name) for name in glob.glob(str(path), recursive=True)]  # noqa: PTH207 (may be absolute)
            if not fitting:
                raise UnreadableFile(f"No file fits {path}.", "check the pattern (`ls` it), and quote it.")
        else:
            fitting = [Path(path)]
        found += [file for each in fitting for file in (_in_folder(each) if each.is_dir() else [each])]
    once = {file.resolve(): file for file in reversed(found)}
    if leave_out is not None and len(once) > 1:
        once.pop(leave_out.resolve(), None)
    return tuple(sorted(once.values(), key=natural))


def natural(path: str | Path) -> tuple[tuple[int, int | str], ...]:
    """What to sort by so that numbers in names count as numbers."""
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", str(path)) if part)


def step_in_name(path: str | Path) -> int | None:
    """The step that a checkpoint's name tells, or its folder's where the file is called as in every folder."""
    name = short_name(path)
    found = _STEP.findall(name) or _NUMBER.findall(name)
    return int(found[-1]) if found else None


def short_name(path: str | Path) -> str:
    """A checkpoint's name without its suffix; its folder's where the file is called as in every folder."""
    file = Path(path)
    name = file.stem if file.suffix in (*SUFFIXES, ".json") else file.name
    return file.parent.name if name in _SAME_EVERYWHERE and file.parent.name else name


def _in_folder(folder: Path) -> list[Path]:
    """The folder, where it is a checkpoint, or those in it; besides, the folders directly in it that are one."""
    try:
        found = [folder] if _is_checkpoint(folder) else _candidates(folder)
        for inner in sorted(folder.iterdir()):
            if inner.is_dir() and not inner.name.startswith("."):
                files = [inner] if _is_checkpoint(inner) else _candidates(inner)
                found += files if len(files) < _SEVERAL else [inner]  # which one is meant, nobody knows: a row says so
    except OSError as error:
        raise UnreadableFile(f"{folder} cannot be listed: {first_line(error)}.", "check its permissions.") from error
    if not found:
        raise UnreadableFile(
            f"{folder} holds no checkpoint: expected files called {', '.join('*' + s for s in SUFFIXES)}, there or in "
            "folders directly inside.",
            "name the checkpoints, or quote a pattern: 'runs/*/weights_*'.",
        )
    return found


def _is_checkpoint(folder: Path) -> bool:
    """Whether a reader knows where to begin in this folder."""
    return any(reader.entries(folder) for reader in discover("energydiag.files", "READER", Reader).values())


def _candidates(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix in SUFFIXES
        and not path.name.startswith(".")
        and not _SHARD.search(path.stem)
        and not _OTHER_STATE.match(path.name)
        and path.is_file()
    )
