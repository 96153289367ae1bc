"""``energydiag inspect checkpoint``: the main job."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from energydiag.cli import options as o
from energydiag.cli.output import destinations, exit_code, progress_bar, write, write_figures
from energydiag.errors import UsageError

if TYPE_CHECKING:
    from energydiag.results import Diagnosis


def inspect_checkpoint(
    checkpoint: Annotated[
        Path, typer.Argument(help="Checkpoint: torch.save'd state dict or safetensors.", show_default=False)
    ],
    batch: o.Batch,
    model: o.Model = None,
    model_arg: o.ModelArg = None,
    head: o.Head = None,
    nhead: o.Nhead = None,
    sign: o.Sign = None,
    tau: o.Tau = None,
    device: o.Device = "cpu",
    dtype: o.Dtype = None,
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
    quiet: o.Quiet = False,
) -> None:
    """Measure, diagnose and explain one checkpoint on one batch dump."""
    to = destinations(format, output)
    arguments = key_values(model_arg or [])
    with progress_bar(quiet) as progress:
        from energydiag.pipeline import ModelOptions
        from energydiag.pipeline import inspect_checkpoint as run

        diagnosis = run(
            checkpoint,
            batch,
            ModelOptions(model, arguments, head, nhead, sign, device, dtype),
            command=["energydiag", *sys.argv[1:]],
            tau=tau,
            swap_size=swap_size,
            seed=seed,
            limit=limit,
            select=select or (),
            ignore=ignore or (),
            progress=progress,
        )
    told = {"--model": model, "--head": head, "--nhead": nhead, "--sign": sign, "--tau": tau}
    words = [str(checkpoint), "--batch", str(batch)]
    for option, value in told.items():
        words += [] if value is None else [option, str(value)]
    for pair in model_arg or ():
        words += ["--model-arg", pair]
    next_command = next_step(diagnosis, shlex.join(words))
    picture = write_figures(diagnosis, plots)
    write(diagnosis, to, details=details, next_command=next_command)
    if picture is not None and not quiet:
        typer.echo(f"figures: {picture}", err=True)
    raise typer.Exit(exit_code(diagnosis, fail_on.value))


def next_step(diagnosis: Diagnosis, arguments: str) -> str | None:
    """What to type next: the repair where a fix is known, else the page of the first finding."""
    if not diagnosis.findings:
        return None
    first = diagnosis.findings[0].code
    explain = f"energydiag rules {first}   (why, and what to change)"
    if not any(finding.fixes for finding in diagnosis.findings):
        return explain
    return f"{explain}\n      energydiag fix-and-retrain {arguments} --out repaired/"


def key_values(pairs: list[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise UsageError(
                f"--model-arg must be KEY=VALUE, not {pair!r}.", "write, for example, --model-arg hidden=256."
            )
        found[key] = value
    return found
