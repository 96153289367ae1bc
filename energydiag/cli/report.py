"""``energydiag report``: a saved result, drawn again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from energydiag.cli import options as o
from energydiag.cli.output import destinations, write, write_figures
from energydiag.errors import UnreadableFile, first_line
from energydiag.inert import inert
from energydiag.plain_file import read_plain

if TYPE_CHECKING:
    from energydiag.reports.report import Result

_MOST_BYTES = 64 << 20
"""Of a result, 64 MiB; one of a few hundred checkpoints has ten."""


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


def _read(path: Path) -> Result:
    from energydiag.results import SCHEMA_VERSION
    from energydiag.results.reading import read_json
    from energydiag.results.saved import saved_result

    try:
        # a result of our own has inert text alone, and reports need not ask whose it is
        plain = read_json(read_plain(path, _MOST_BYTES, "it is no result of energydiag."), inert)
    except ValueError as error:
        raise UnreadableFile(f"{path} is no JSON: {first_line(error)}.", "write it with --format json=PATH.") from error
    try:
        version = plain["schema_version"]
        if version not in range(1, SCHEMA_VERSION + 1):
            raise UnreadableFile(
                f"{path} has schema_version {str(version)[:20]}; this energydiag reads up to {SCHEMA_VERSION}.",
                "upgrade energydiag.",
            )
        return saved_result(plain)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, OverflowError) as error:
        raise UnreadableFile(
            f"{path} is no energydiag result: {type(error).__name__} {first_line(error)[:200]}.",
            "write it with --format json=PATH.",
        ) from error
