"""``energydiag compare checkpoints``: checkpoints side by side on the same samples."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from energydiag.cli import compare_options as c
from energydiag.cli import options as o
from energydiag.cli.config import config_words
from energydiag.cli.model_choice import ModelChoice, takes_model
from energydiag.cli.output import destinations, leave, progress_bar, write, write_figures
from energydiag.errors import UsageError

if TYPE_CHECKING:
    from energydiag.pipeline import ModelOptions

_OF_ONE = ("model", "head", "pool", "nhead", "mask", "sign", "weights", "candidates")


@takes_model
def compare_checkpoints(
    checkpoints: Annotated[
        list[Path],
        typer.Argument(help="Checkpoints; the others are compared with the first.", show_default=False),
    ],
    batch: o.Batch,
    choice: ModelChoice = ModelChoice(),
    of: Annotated[
        list[str] | None,
        typer.Option(
            help="N.OPTION=VALUE: an option of the N-th checkpoint alone, as in 2.head=rescaled; repeatable. "
            f"Of {', '.join(_OF_ONE)}.",
        ),
    ] = None,
    seed: o.Seed = 0,
    limit: o.Limit = None,
    swap_size: o.SwapSize = 64,
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
    """Compare checkpoints on one batch dump, sample by sample: what became better, what worse, what is chance."""
    to = destinations(format, output)
    limits = c.limits_of(max_regression)
    with progress_bar(quiet) as progress:
        from energydiag.pipeline.baselines import read_baseline
        from energydiag.pipeline.baselines import save_baseline as save
        from energydiag.pipeline.comparing_checkpoints import baseline_of, compare_diagnoses, diagnosed
        from energydiag.pipeline.naming import distinct_names

        known = None if baseline is None else read_baseline(baseline, "checkpoints")
        if len(checkpoints) + (known is not None) < 2 and save_baseline is None:
            raise UsageError("There is one side only.", "name two checkpoints at least, or give --baseline FILE.")
        models = _models(choice.on(choice.device), len(checkpoints), of or [])
        called = distinct_names([str(path) for path in checkpoints])
        options = {"tau": choice.tau, "swap_size": swap_size, "seed": seed, "limit": limit}
        diagnoses = diagnosed(checkpoints, called, batch, models, progress, options)
        if save_baseline is not None:
            save(baseline_of(diagnoses[called[-1]], called[-1], tuple(metric or ())), save_baseline)
            if len(checkpoints) == 1 and known is None:
                typer.echo(f"baseline: {save_baseline}{config_words()}", err=True)
                raise typer.Exit
        compared = compare_diagnoses(
            diagnoses,
            metrics=tuple(metric or ()),
            allowed=limits,
            baseline=known,
            command=["energydiag", *sys.argv[1:]],
        )
    compared = c.sorted_by(compared, sort)
    picture = write_figures(compared, plots)
    write(compared, to, details=details, next_command=None)
    if picture is not None and not quiet:
        typer.echo(f"figures: {picture}", err=True)
    leave(c.exit_code(compared, inconclusive_fails), c.doubt(compared))


def _models(common: ModelOptions, count: int, pairs: list[str]) -> list[ModelOptions]:
    """The options of every checkpoint: what all have in common, and what is said of one."""
    found = [common] * count
    for pair in pairs:
        place, dot, rest = pair.partition(".")
        option, separator, value = rest.partition("=")
        if not (dot and separator and _is_number(place) and 1 <= int(place) <= count and option in _OF_ONE):
            raise UsageError(
                f"--of is N.OPTION=VALUE with N from 1 to {count} and an option of {', '.join(_OF_ONE)}, not {pair!r}.",
                "write, for example, --of 2.head=rescaled.",
            )
        number = int(place) - 1
        found[number] = _with(found[number], option, value)
    return found


_LONGEST_NUMBER = 9


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) <= _LONGEST_NUMBER


def _with(options: ModelOptions, option: str, value: str) -> ModelOptions:
    if option == "nhead":
        if not _is_number(value):
            raise UsageError(f"nhead is a number, not {value!r}.", "write, for example, --of 2.nhead=8.")
        return replace(options, nhead=int(value))
    if option == "candidates":
        return replace(options, candidates=value.lower() in ("true", "1", "yes"))
    changed: dict[str, Any] = {option: value}
    return replace(options, **changed)
