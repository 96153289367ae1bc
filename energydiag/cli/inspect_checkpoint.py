"""``energydiag inspect checkpoint``: the main job."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from energydiag.cli import options as o
from energydiag.cli.model_choice import ModelChoice, takes_model
from energydiag.cli.output import destinations, exit_code, progress_bar, write, write_figures

if TYPE_CHECKING:
    from energydiag.results import Diagnosis


@takes_model
def inspect_checkpoint(
    checkpoint: Annotated[
        Path, typer.Argument(help="Checkpoint: torch.save'd state dict or safetensors.", show_default=False)
    ],
    batch: o.Batch,
    choice: ModelChoice = ModelChoice(),
    seed: o.Seed = 0,
    limit: o.Limit = None,
    swap_size: o.SwapSize = 64,
    select: o.Select = None,
    ignore: o.Ignore = None,
    format: o.Formats = None,
    output: o.Output = None,
    plots: o.Plots = None,
    details: o.Details = False,
    fail_on: o.FailOnOption = o.FailOn.critical,
    inconclusive_fails: o.InconclusiveFails = False,
    quiet: o.Quiet = False,
) -> None:
    """Measure, diagnose and explain one checkpoint on one batch dump."""
    to = destinations(format, output)
    with progress_bar(quiet) as progress:
        from energydiag.pipeline import inspect_checkpoint as run

        diagnosis = run(
            checkpoint,
            batch,
            choice.on(choice.device),
            command=["energydiag", *sys.argv[1:]],
            tau=choice.tau,
            swap_size=swap_size,
            seed=seed,
            limit=limit,
            select=select or (),
            ignore=ignore or (),
            progress=progress,
        )
    next_command = next_step(diagnosis, shlex.join([str(checkpoint), "--batch", str(batch), *choice.words()]))
    picture = write_figures(diagnosis, plots)
    write(diagnosis, to, details=details, next_command=next_command)
    if picture is not None and not quiet:
        typer.echo(f"figures: {picture}", err=True)
    raise typer.Exit(exit_code(diagnosis, fail_on.value, inconclusive_fails))


def next_step(diagnosis: Diagnosis, arguments: str) -> str | None:
    """What to type next: the repair where a fix is known, else the page of the first finding."""
    if not diagnosis.findings:
        return None
    first = diagnosis.findings[0].code
    explain = f"energydiag rules {first}   (why, and what to change)"
    if not any(finding.fixes for finding in diagnosis.findings):
        return explain
    return f"{explain}\n      energydiag fix-and-retrain {arguments} --out repaired/"
