"""``energydiag report``: a saved result, drawn again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from energydiag.cli import options as o
from energydiag.cli.output import destinations, write, write_figures
from energydiag.errors import UnreadableFile
from energydiag.results import SCHEMA_VERSION, Diagnosis, Repair


def report(
    result: Annotated[Path, typer.Argument(help="What --format json wrote.", show_default=False)],
    format: o.Formats = None,
    output: o.Output = None,
    plots: o.Plots = None,
    details: o.Details = False,
) -> None:
    """Draw a saved result again, without measuring."""
    to = destinations(format, output)
    saved = _read(result)
    picture = write_figures(saved, plots)
    write(saved, to, details=details, next_command=None)
    if picture is not None:
        typer.echo(f"figures: {picture}", err=True)


def _read(path: Path) -> Diagnosis | Repair:
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror}.", "check the path.") from error
    except ValueError as error:
        raise UnreadableFile(f"{path} is no JSON: {error}.", "write it with --format json=PATH.") from error
    try:
        version = plain["schema_version"]
        if version != SCHEMA_VERSION:
            raise UnreadableFile(
                f"{path} has schema_version {version}; this energydiag reads {SCHEMA_VERSION}.",
                "upgrade energydiag.",
            )
        return Repair.from_dict(plain) if plain["kind"] == "repair" else Diagnosis.from_dict(plain)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise UnreadableFile(
            f"{path} is no energydiag result: {type(error).__name__} {error}.",
            "write it with --format json=PATH.",
        ) from error
