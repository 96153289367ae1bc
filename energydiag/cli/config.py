"""Defaults for options from a TOML file, and which of them a file that nobody named may set.

Shown to the reader, since a stranger's `pyproject.toml` can hide findings: what a file has set stands in the result.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from energydiag.errors import EnergydiagError, UsageError, first_line
from energydiag.plain_file import read_plain

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOUND = Path("pyproject.toml")
"""The file in the current folder that is read although nobody named it."""

_MOST_BYTES = 1 << 20
_MOST_DOTS = 200

_CONTEXTS: Any = importlib.import_module(f"{typer.Context.__mro__[1].__module__.rpartition('.')[0]}.globals")
"""Of click, or of the copy of it that Typer brings along."""

NAMED_ALONE = frozenset(
    {
        *("model", "model_arg", "allow_global"),  # run code, or import it
        *("format", "output", "plots", "out", "save_baseline"),  # write
        *("ray", "shard", "merge", "resume"),  # reach other machines, or other runs' results
        *("dry_run", "list_fixes"),  # end a command early
    }
)
"""Options that are taken from the command line, or from a file that the command line names."""


def read_defaults(file: Path | None) -> dict[str, Any]:
    """Option values by their Python names.

    Args:
        file: A TOML file whose top level, or whose table ``tool.energydiag``, holds options; None takes that table of
            `FOUND`, where there is one.

    Raises:
        UsageError: The named file cannot be read or is no TOML, or the table is none.
    """
    path = file or FOUND
    if file is None and not path.is_file():
        return {}
    try:
        told = read_plain(path, _MOST_BYTES, "keep the options apart.")
        if max(line.count(b".") for line in told.split(b"\n")) > _MOST_DOTS:  # a key of n parts takes n² of memory
            raise ValueError(f"a line with more than {_MOST_DOTS} dots")
        content: dict[str, Any] = tomllib.loads(told.decode())
    except EnergydiagError as error:
        if file is None:
            return {}
        raise UsageError(f"The config file: {error.message}", error.next_step) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        if file is None:  # a broken pyproject.toml of somebody's project is not ours to judge
            return {}
        raise UsageError(
            f"The config file {path} is no TOML: {first_line(error)}.", "correct the line that it names."
        ) from error
    table: Any = content
    if file is None or "tool" in content:
        for name in ("tool", "energydiag"):
            table = table.get(name, {}) if isinstance(table, dict) else None
    if not isinstance(table, dict):
        raise UsageError(f"[tool.energydiag] in {path} must be a table of options.", 'write, say, fail-on = "warning".')
    return {key.replace("-", "_"): value for key, value in table.items()}


def allowed(defaults: Mapping[str, Any], file: Path | None) -> tuple[dict[str, Any], list[str]]:
    """What may be set, and the names of what a file that nobody named may not set."""
    if file is not None:
        return dict(defaults), []
    refused = sorted(NAMED_ALONE & defaults.keys())
    return {name: value for name, value in defaults.items() if name not in NAMED_ALONE}, refused


def set_by_file() -> dict[str, str]:
    """The options of the command that runs now which a file has set, as they would be typed; with the file's name."""
    context = _CONTEXTS.get_current_context(silent=True)
    if context is None:
        return {}
    words = list(_words(context))
    file = context.find_root().params.get("config") or FOUND
    return {"file": str(file), "options": " ".join(words)} if words else {}


def config_words() -> str:
    """The same behind a short message, in brackets; empty where a file has set nothing."""
    told = set_by_file()
    return f" (with {told['options']}, set by {told['file']})" if told else ""


def _words(context: typer.Context) -> Iterator[str]:
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if source is not None and source.name == "DEFAULT_MAP":
            value = context.params.get(name)
            for one in value if isinstance(value, list | tuple) else [value]:
                yield f"--{name.replace('_', '-')} {getattr(one, 'value', one)}"
