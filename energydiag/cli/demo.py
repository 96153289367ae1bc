"""``energydiag demo``: the main job on the sample that comes with the package."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from energydiag.cli import options as o
from energydiag.cli.output import destinations, progress_bar, write, write_figures

_TAU = 0.5


def demo(
    plots: Annotated[Path, typer.Option(help="Folder for figures (PNG and SVG).")] = Path("energydiag-demo"),
    quiet: o.Quiet = False,
) -> None:
    """Diagnose a sample that comes with the package: a head whose loss is a flat line."""
    from importlib.resources import as_file, files

    sample = files("energydiag") / "sample"
    with (
        as_file(sample / "original.pt") as checkpoint,
        as_file(sample / "heldout-batch.safetensors") as batch,
    ):
        with progress_bar(quiet) as progress:
            from energydiag.pipeline import ModelOptions, inspect_checkpoint

            command = ["energydiag", "inspect", "checkpoint", str(checkpoint)]
            command += ["--batch", str(batch), "--tau", str(_TAU)]
            diagnosis = inspect_checkpoint(
                checkpoint,
                batch,
                ModelOptions(),
                command=command,
                tau=_TAU,
                progress=progress,
            )
        picture = write_figures(diagnosis, plots)
        code = diagnosis.findings[0].code if diagnosis.findings else "ED101"
        write(diagnosis, destinations(None, None), details=False, next_command=f"energydiag rules {code}")
        typer.echo(f"\nThis was: {shlex.join(command)}")
        typer.echo(f"Picture:  {picture}")
