"""``energydiag inspect batch``: the data alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from energydiag.cli import options as o
from energydiag.cli.output import destinations, doubt, exit_code, leave, progress_bar, write


def inspect_batch(
    dump: Annotated[
        Path,
        typer.Argument(help="Batch dump: .safetensors, .pt or .npz, or a folder of shards.", show_default=False),
    ],
    seed: o.Seed = 0,
    limit: o.Limit = None,
    select: o.Select = None,
    ignore: o.Ignore = None,
    format: o.Formats = None,
    output: o.Output = None,
    details: o.Details = False,
    fail_on: o.FailOnOption = o.FailOn.critical,
    inconclusive_fails: o.InconclusiveFails = False,
    quiet: o.Quiet = False,
) -> None:
    """Diagnose a batch dump alone: shapes, padding, false negatives, duplicates, scales."""
    to = destinations(format, output)
    with progress_bar(quiet) as progress:
        from energydiag.pipeline import inspect_batch as run

        progress("data")
        diagnosis = run(
            dump,
            seed=seed,
            limit=limit,
            select=select or (),
            ignore=ignore or (),
            command=["energydiag", *sys.argv[1:]],
        )
    first = diagnosis.findings[0].code if diagnosis.findings else None
    explain = None if first is None else f"energydiag rules {first}"
    write(diagnosis, to, details=details, next_command=explain)
    leave(exit_code(diagnosis, fail_on.value, inconclusive_fails), doubt(fail_on.value, diagnosis))
