"""Defaults for options from a TOML file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from energydiag.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_defaults(file: Path | None) -> dict[str, Any]:
    """Option values by their Python names.

    Args:
        file: A TOML file whose top level holds options; None takes ``[tool.energydiag]`` of ``./pyproject.toml``,
            where there is one.

    Raises:
        UsageError: The file is missing or no TOML.
    """
    path = file or Path("pyproject.toml")
    if file is None and not path.is_file():
        return {}
    try:
        with path.open("rb") as stream:
            content: dict[str, Any] = tomllib.load(stream)
    except OSError as error:
        raise UsageError(f"The config file {path} cannot be read: {error.strerror}.", "check --config.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        if file is None:  # a broken pyproject.toml of somebody's project is not ours to judge
            return {}
        raise UsageError(f"The config file {path} is no TOML: {error}.", "mend the line it names.") from error
    table: Any = content
    if file is None or "tool" in content:
        for name in ("tool", "energydiag"):
            table = table.get(name, {}) if isinstance(table, dict) else None
    if not isinstance(table, dict):
        raise UsageError(f"[tool.energydiag] in {path} must be a table of options.", 'write, say, fail-on = "warning".')
    return {key.replace("-", "_"): value for key, value in table.items()}
