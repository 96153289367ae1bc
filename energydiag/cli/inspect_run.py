"""``energydiag inspect run``: a training log alone."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from energydiag.cli import log_options as log
from energydiag.cli import options as o
from energydiag.cli.output import destinations, doubt, exit_code, leave, progress_bar, write, write_figures

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
    map: log.Map = None,
    batch_size: log.BatchSize = None,
    negatives: log.Negatives = None,
    head: o.Head = None,
    tau: log.Tau = None,
    objective: o.Objective = None,
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
    names = log.names_of(map)
    with progress_bar(quiet):
        from energydiag.pipeline import inspect_run as inspect

        diagnosis = inspect(
            run,
            names=names,
            batch_size=batch_size,
            negatives=negatives,
            head=head,
            tau=tau,
            objective=objective,
            select=select or (),
            ignore=ignore or (),
            command=["energydiag", *sys.argv[1:]],
        )
    picture = write_figures(diagnosis, plots)
    write(diagnosis, to, details=details, next_command=_next_step(diagnosis))
    if picture is not None and not quiet:
        typer.echo(f"figures: {picture}", err=True)
    leave(exit_code(diagnosis, fail_on.value, inconclusive_fails), doubt(fail_on.value, diagnosis))


def _next_step(diagnosis: Diagnosis) -> str:
    """What to type next: the page of the first finding, then the checkpoint, which tells more than its log."""
    words = ["energydiag", "inspect", "checkpoint", "CHECKPOINT", "--batch", "DUMP"]
    for name in ("head", "tau", "objective"):
        value = diagnosis.provenance[name]
        words += [] if value is None else [f"--{name}", f"{value:.6g}" if isinstance(value, float) else value]
    inspection = shlex.join(words)
    if not diagnosis.findings:
        return f"{inspection}   (weights tell more than their log)"
    return f"energydiag rules {diagnosis.findings[0].code}   (why, and what to change)\n      {inspection}"
