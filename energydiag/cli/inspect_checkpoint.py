"""``energydiag inspect checkpoint``: the main job."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from energydiag.cli import options as o
from energydiag.cli.inspect_checkpoints import (
    How,
    Merge,
    Out,
    Ray,
    Shard,
    Workers,
    as_argument,
    exit_code_of_many,
    next_step_of_many,
    part_of,
)
from energydiag.cli.model_choice import ModelChoice, takes_model
from energydiag.cli.output import destinations, doubt, exit_code, leave, progress_bar, write, write_figures

if TYPE_CHECKING:
    from energydiag.results import Diagnosis, Fleet


@takes_model
def inspect_checkpoint(
    checkpoint: Annotated[
        list[Path],
        typer.Argument(
            help="Checkpoint: what a trainer saved, a file or a folder. Several of them, a quoted pattern, or a folder "
            "that holds some give one table, a row each.",
            show_default=False,
        ),
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
    out: Out = None,
    workers: Workers = None,
    shard: Shard = None,
    merge: Merge = False,
    ray: Ray = None,
    quiet: o.Quiet = False,
) -> None:
    """Measure, diagnose and explain checkpoints on one batch dump: a report on one, a table of several."""
    to = destinations(format, output)
    how = How(out, workers, part_of(shard), merge, ray)
    arguments = ["--batch", str(batch), *choice.words()]
    result: Diagnosis | Fleet
    code: Callable[[str, bool], int]
    with progress_bar(quiet) as progress:
        from energydiag.pipeline import inspect_checkpoint as inspect_one
        from energydiag.pipeline import inspect_many

        model = choice.on(choice.device)
        options: dict[str, Any] = {
            "command": ["energydiag", *sys.argv[1:]],
            "tau": choice.tau,
            "swap_size": swap_size,
            "seed": seed,
            "limit": limit,
            "select": tuple(select or ()),
            "ignore": tuple(ignore or ()),
            "progress": progress,
        }
        alone = how.sole(checkpoint)
        if alone is None:
            result = many = inspect_many(checkpoint, batch, model, **how.options(), **options)
            next_command, code = next_step_of_many(many, how, arguments), partial(exit_code_of_many, many)
            in_doubt = doubt(fail_on.value, *(row.diagnosis for row in many.rows if row.diagnosis is not None))
        else:
            result = one = inspect_one(alone, batch, model, **options)
            next_command = next_step(one, shlex.join([as_argument(str(alone)), *arguments]))
            code, in_doubt = partial(exit_code, one), doubt(fail_on.value, one)
    picture = write_figures(result, plots)
    write(result, to, details=details, next_command=next_command)
    if picture is not None and not quiet:
        typer.echo(f"figures: {picture}", err=True)
    leave(code(fail_on.value, inconclusive_fails), in_doubt)


def next_step(diagnosis: Diagnosis, arguments: str) -> str | None:
    """What to type next: the repair where a fix is known, else the page of the first finding."""
    if not diagnosis.findings:
        return None
    first = diagnosis.findings[0].code
    explain = f"energydiag rules {first}   (why, and what to change)"
    if not any(finding.fixes for finding in diagnosis.findings):
        return explain
    return f"{explain}\n      energydiag fix-and-retrain {arguments} --out repaired/"
