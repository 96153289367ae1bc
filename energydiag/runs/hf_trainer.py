"""``trainer_state.json`` of the Hugging Face Trainer: a list of what it logged, within its state.

The list is read entry by entry, so that a file that ends too early gives what is there, and memory stays bounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from energydiag.errors import first_line
from energydiag.runs.json_lines import MOST_CHARACTERS, as_settings, flattened, is_trainer_state
from energydiag.runs.names import cut
from energydiag.runs.source import Source
from energydiag.runs.table import Columns, Format, Table, decoded

_FILE = "trainer_state.json"
_LIST = re.compile(r'"log_history"\s*:\s*\[')
_BETWEEN = re.compile(r"[\s,]*")
_FIRST_LOOK = 8192

HIDES = (
    "The Hugging Face Trainer logs the mean of the loss since its last entry, and puts that mean in the place of a NaN "
    "or infinite loss (`logging_nan_inf_filter`, on by default): no NaN here does not say that there was none."
)


def _recognises(_path: Path, start: bytes) -> bool:
    return start.lstrip().startswith(b"{") and is_trainer_state(start)


def _inside(folder: Path) -> Path | None:
    """The state that was saved last: the trainer's own, or the one beside the latest checkpoint."""
    if (folder / _FILE).is_file():
        return folder / _FILE
    saved = [path for path in folder.glob(f"checkpoint-*/{_FILE}") if path.is_file()]
    return max(saved, key=_step_of, default=None)


def _step_of(path: Path) -> int:
    step = path.parent.name.rpartition("-")[2]
    return int(step) if step.isascii() and step.isdigit() and len(step) < 19 else -1


def _read(path: Path, source: Source) -> Table:
    text = decoded(source.content(path))
    begin = _LIST.search(text)
    if begin is None:
        raise ValueError('has no list "log_history"')
    columns, notes, end = Columns(), [HIDES], begin.end()
    for entry, end in _entries(text, begin.end()):  # noqa: B007 - the last end is needed
        columns.add(flattened(entry, "/") if isinstance(entry, dict) else ())
    rest = text[_BETWEEN.match(text, end).end() :]  # type: ignore[union-attr]
    behind = rest[1:]
    if not rest.startswith("]"):
        count = f"{columns.rows} {'entry' if columns.rows == 1 else 'entries'}"
        notes.append(f"`log_history` ends too early or is damaged after {count}; nothing behind that was read.")
        behind = "}"
    config, told = _settings(text[: begin.start()], behind)
    return columns.table(notes=(*notes, *told), config=config)


def _entries(text: str, place: int) -> Iterator[tuple[Any, int]]:
    """What stands in the list from this place on, each with the place behind it, up to what is no JSON."""
    read = json.JSONDecoder().raw_decode
    while True:
        between = _BETWEEN.match(text, place)
        assert between is not None
        place = between.end()
        look = _FIRST_LOOK
        while True:
            try:
                entry, length = read(text[place : place + look])
            except (ValueError, RecursionError):
                if look >= min(MOST_CHARACTERS, len(text) - place):
                    return
                look *= 16
            else:
                break
        place += length
        yield entry, place


def _settings(before: str, behind: str) -> tuple[dict[str, str], list[str]]:
    """What the state says besides the list, as text."""
    if len(before) + len(behind) > MOST_CHARACTERS:
        return {}, ["What stands beside `log_history` is too long and was not read."]
    try:
        plain = json.loads(f'{before}"log_history": []{behind}')
        if not isinstance(plain, dict):
            raise ValueError("no JSON object")
        return as_settings(plain), []
    except (ValueError, RecursionError) as error:
        return {}, [f"What stands beside `log_history` was not read: {cut(first_line(error))}."]


FORMAT = Format("hf-trainer", _recognises, _inside, _read)
