"""``energydiag compare runs``: training runs side by side."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from energydiag.cli import compare_options as c
from energydiag.cli import log_options as log
from energydiag.cli import options as o
from energydiag.cli.config import config_words
from energydiag.cli.output import destinations, leave, progress_bar, write, write_figures


class At(str, Enum):
    """Where in the runs the verdict is taken."""

    step = "equal step"
    time = "equal time"
    last = "last"
    best = "best"


def compare_runs(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Training logs, or folders that hold them; the first is compared with.", show_default=False
        ),
    ],
    map: log.Map = None,
    at: Annotated[
        At | None,
        typer.Option(help="Where the verdict is taken. [default: the last step that all runs reached]"),
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(help="Runs that differ in this setting alone are one side: seed.", show_default=False),
    ] = None,
    batch_size: log.BatchSize = None,
    negatives: log.Negatives = None,
    head: o.Head = None,
    tau: log.Tau = None,
    objective: o.Objective = None,
    metric: c.Metrics = None,
    max_regression: c.Limits = None,
    baseline: c.BaselineFile = None,
    save_baseline: c.SaveBaseline = None,
    sort: c.SortBy = c.Sort.given,
    format: o.Formats = None,
    output: o.Output = None,
    plots: o.Plots = None,
    details: c.Details = False,
    inconclusive_fails: c.InconclusiveFails = False,
    quiet: o.Quiet = False,
) -> None:
    """Compare training runs from their logs: at the same step, at their ends, at their best, after the same time."""
    to = destinations(format, output)
    names = log.names_of(map)
    limits = c.limits_of(max_regression)
    with progress_bar(quiet):
        from energydiag.pipeline import compare_runs as compare
        from energydiag.pipeline.baselines import save_baseline as save
        from energydiag.pipeline.comparing_runs import run_baseline
        from energydiag.runs import Told

        told = Told(batch_size, negatives, head, tau, objective)
        if save_baseline is not None:
            save(run_baseline(runs[-1], names=names, told=told), save_baseline)
            if len(runs) == 1 and baseline is None:
                typer.echo(f"baseline: {save_baseline}{config_words()}", err=True)
                raise typer.Exit
        compared = compare(
            runs,
            names=names,
            at=None if at is None else at.value,
            group_by=group_by,
            metrics=tuple(metric or ()),
            allowed=limits,
            baseline=baseline,
            told=told,
            command=["energydiag", *sys.argv[1:]],
        )
    compared = c.sorted_by(compared, sort)
    picture = write_figures(compared, plots)
    write(compared, to, details=details, next_command=None)
    if picture is not None and not quiet:
        typer.echo(f"figures: {picture}", err=True)
    leave(c.exit_code(compared, inconclusive_fails), c.doubt(compared))
