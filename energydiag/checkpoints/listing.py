"""From paths, patterns and folders to the checkpoints that are meant, in the order of the numbers in their names."""

from __future__ import annotations

import fnmatch
import glob
import os
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

_MOST_ENTRIES = 200_000
"""Files and folders that a pattern is compared with (heuristic: a second's work, and more than a training writes)."""

_LARGEST_STEP = 1 << 53
"""Numbers in names from here on count no steps: no training gets there."""

_LONGEST_NUMBER = 300
"""Digits of a number in a name; longer ones are sorted as text."""

_STEP = re.compile(r"(?:^|[^a-z])(?:global_?)?(?:steps?|iters?|iterations?)[-_=]*(\d+)", re.IGNORECASE)
_NUMBER = re.compile(r"(?:ckpt|checkpoint|epoch|(?<![0-9a-z.]))[-_=]*(?<![0-9])(\d+)(?![0-9a-z]|[.]\d)", re.IGNORECASE)


def is_pattern(path: str | Path) -> bool:
    """Whether this names files by a pattern, as in ``step_*.pt``, and is no file itself."""
    return glob.has_magic(str(path)) and not os.path.lexists(path)


def list_checkpoints(given: Iterable[str | Path], leave_out: Path | None = None) -> tuple[Path, ...]:
    """The checkpoints that are meant, each once, in natural order (``step_2`` before ``step_10``).

    Args:
        given: Files, patterns, folders that hold checkpoints, or folders that are one (as `read_tensor_file` takes
            them). A file that is named is taken, whether it is there or not.
        leave_out: A file that is none, whatever folder it is in: the batch dump.

    Raises:
        UnreadableFile: A pattern fits nothing or leads through too many folders, or a folder holds no checkpoint.
    """
    found: list[Path] = []
    for path in given:
        if is_pattern(path):
            fitting = _fitting(Path(path))
            if not fitting:
                raise UnreadableFile(f"No file fits {path}.", "check the pattern (`ls` it), and quote it.")
        else:
            fitting = [Path(path)]
        found += [file for each in fitting for file in (_in_folder(each) if _is_folder(each) else [each])]
    once = {os.path.realpath(file): file for file in reversed(found)}
    if leave_out is not None and len(once) > 1:
        once.pop(os.path.realpath(leave_out), None)
    return tuple(sorted(once.values(), key=natural))


def natural(path: str | Path) -> tuple[tuple[int, int | str], ...]:
    """What to sort by so that numbers in names count as numbers."""
    parts = [part for part in re.split(r"(\d+)", str(path)) if part]
    return tuple((0, int(p)) if p.isdecimal() and len(p) <= _LONGEST_NUMBER else (1, p) for p in parts)


def step_in_name(path: str | Path) -> int | None:
    """The step that a checkpoint's name tells, or its folder's where the file is called as in every folder."""
    name = short_name(path)
    found = _STEP.findall(name) or _NUMBER.findall(name)
    step = int(found[-1]) if found else _LARGEST_STEP  # a name has 255 digits at most
    return step if step < _LARGEST_STEP else None


def short_name(path: str | Path) -> str:
    """A checkpoint's name without its suffix; its folder's where the file is called as in every folder."""
    file = Path(path)
    name = file.stem if file.suffix in (*SUFFIXES, ".json") else file.name
    return file.parent.name if name in _SAME_EVERYWHERE and file.parent.name else name


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # who reads it as a file says what is wrong
        return False


def _fitting(pattern: Path) -> list[Path]:
    """What a pattern fits, as the shell and `glob` have it; ``**`` does not follow links.

    Each folder is looked at once for each part of the pattern: `glob` itself goes once for every way to divide a path
    among several ``**``, and on and on through links that lead to a folder above.
    """
    steps = pattern.parts
    parts = [step for at, step in enumerate(steps) if step != "**" or steps[at - 1 : at] != ("**",)]
    start = Path(parts.pop(0)) if pattern.is_absolute() else Path()
    found: list[Path] = []
    seen: set[tuple[Path, int]] = set()
    waiting, looked_at = [(start, 0)], 0
    while waiting:
        place, number = waiting.pop()
        if (place, number) in seen:
            continue
        seen.add((place, number))
        if number == len(parts):
            found.append(place)
            continue
        part = parts[number]
        if part == "**":
            waiting.append((place, number + 1))
        elif not glob.has_magic(part):
            if os.path.lexists(place / part):
                waiting.append((place / part, number + 1))
            continue
        for entry in _entries(place):
            looked_at += 1
            if looked_at > _MOST_ENTRIES:
                raise UnreadableFile(
                    f"{pattern} leads through more than {_MOST_ENTRIES} files and folders.",
                    "name the folder that the checkpoints are in.",
                )
            if part == "**":
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                    waiting.append((place / entry.name, number))
                elif number + 1 == len(parts) and not entry.name.startswith("."):
                    found.append(place / entry.name)
            elif fnmatch.fnmatch(entry.name, part) and (part[0] == "." or entry.name[0] != "."):
                waiting.append((place / entry.name, number + 1))
    return found


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder; nothing where it is none or must not be looked into."""
    try:
        with os.scandir(folder) as found:
            return list(found)
    except (OSError, ValueError):
        return []


def _in_folder(folder: Path) -> list[Path]:
    """The folder, where it is a checkpoint, or those in it; besides, the folders directly in it that are one."""
    try:
        found = [folder] if _is_checkpoint(folder) else _candidates(folder)
        for inner in sorted(folder.iterdir()):
            if inner.is_dir() and not inner.name.startswith(".") and not _leads_up(inner):
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


def _leads_up(inner: Path) -> bool:
    """Whether a folder is a link to the one it is in, or to one above."""
    return inner.is_symlink() and Path(os.path.realpath(inner.parent)).is_relative_to(os.path.realpath(inner))


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
