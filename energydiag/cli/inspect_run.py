"""``energydiag inspect run``: a training log alone."""

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


def inspect_run(
    run: Annotated[
        Path,
        typer.Argument(
            help="Training log, or the folder with one and config.json: CSV, JSONL, TensorBoard, trainer_state.json, "
            "MLflow, trackio. PATH#RUN names one of several runs.",
            show_default=False,
        ),
    ],
    map: Annotated[
        list[str] | None,
        typer.Option(help="OURS=THEIRS: what a quantity is called in the log, as in loss=train/total; repeatable."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=2, help="Contexts per step of training. [default: config.json's]")
    ] = None,
    negatives: Annotated[
        int | None, typer.Option(min=1, help="Negatives per context. [default: batch size less one]")
    ] = None,
    head: o.Head = None,
    tau: Annotated[
        float | None, typer.Option(min=1e-6, help="Temperature of training. [default: the log's, else config.json's]")
    ] = None,
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
    """Diagnose a training log alone: plateau, NaN, oscillation, drift, gap."""
    to = destinations(format, output)
    names = names_of(map or [])
    with progress_bar(quiet):
        from energydiag.pipeline import inspect_run as inspect

        diagnosis = inspect(
            run,
            names=names,
            batch_size=batch_size,
            negatives=negatives,
            head=head,
            tau=tau,
            select=select or (),
            ignore=ignore or (),
            command=["energydiag", *sys.argv[1:]],
        )
    picture = write_figures(diagnosis, plots)
    write(diagnosis, to, details=details, next_command=_next_step(diagnosis))
    if picture is not None and not quiet:
        typer.echo(f"figures: {picture}", err=True)
    raise typer.Exit(exit_code(diagnosis, fail_on.value, inconclusive_fails))


def _next_step(diagnosis: Diagnosis) -> str:
    """What to type next: the page of the first finding, then the checkpoint, which tells more than its log."""
    words = ["energydiag", "inspect", "checkpoint", "CHECKPOINT", "--batch", "DUMP"]
    for name in ("head", "tau"):
        value = diagnosis.provenance[name]
        words += [] if value is None else [f"--{name}", f"{value:.6g}" if isinstance(value, float) else value]
    inspection = shlex.join(words)
    if not diagnosis.findings:
        return f"{inspection}   (weights tell more than their log)"
    return f"energydiag rules {diagnosis.findings[0].code}   (why, and what to change)\n      {inspection}"


def names_of(pairs: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        ours, separator, theirs = pair.partition("=")
        if not (separator and ours and theirs):
            raise UsageError(f"--map must be OURS=THEIRS, not {pair!r}.", "write, for example, --map loss=train/total.")
        if ours in found:
            raise UsageError(f"--map names {ours} twice.", "give every quantity one column.")
        found[ours] = theirs
    return found
