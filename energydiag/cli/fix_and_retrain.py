"""``energydiag fix-and-retrain``: apply the fixes, retrain, prove it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from energydiag.cli import options as o
from energydiag.cli.inspect_checkpoint import key_values
from energydiag.cli.output import destinations, progress_bar, write, write_figures


def _list_fixes(wanted: bool) -> None:
    if not wanted:
        return
    from energydiag.fixes import fixes

    for fix in fixes().values():
        handles = f" [{', '.join(fix.handles)}]" if fix.handles else ""
        typer.echo(f"{fix.name:<26} {fix.changes}{handles}")
    raise typer.Exit


def fix_and_retrain(
    checkpoint: Annotated[Path, typer.Argument(help="The sick checkpoint.", show_default=False)],
    batch: o.Batch,
    out: Annotated[Path, typer.Option(help="Empty folder for the repaired checkpoint, logs and states.")],
    train_batch: Annotated[
        Path | None, typer.Option(help="What is trained on. [default: --batch, split by episode]")
    ] = None,
    holdout_fraction: Annotated[
        float,
        typer.Option(min=0.05, max=0.9, help="Share of the episodes that the proof is measured on, of one --batch."),
    ] = 0.2,
    fix: Annotated[list[str] | None, typer.Option(help="A fix by name, or auto; repeatable. [default: auto]")] = None,
    list_fixes: Annotated[
        bool, typer.Option("--list-fixes", callback=_list_fixes, is_eager=True, help="List the fixes and stop.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps of each arm.")] = 1000,
    batch_size: Annotated[int, typer.Option(min=2, help="Contexts per step.")] = 64,
    learning_rate: Annotated[float, typer.Option(min=1e-9, help="The owner's learning rate, for the control.")] = 1e-3,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Runs of control and repair. [default: 1, thorough 3]")
    ] = None,
    thorough: Annotated[bool, typer.Option("--thorough", help="Three seeds.")] = False,
    ablate: Annotated[bool, typer.Option("--ablate", help="Also leave out every fix, and try each alone.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run in --out.")] = False,
    model: o.Model = None,
    model_arg: o.ModelArg = None,
    head: o.Head = None,
    nhead: o.Nhead = None,
    sign: o.Sign = None,
    tau: o.Tau = None,
    device: o.Device = "cpu",
    dtype: o.Dtype = None,
    seed: o.Seed = 0,
    format: o.Formats = None,
    output: o.Output = None,
    plots: o.Plots = None,
    quiet: o.Quiet = False,
) -> None:
    """Choose or take fixes, retrain, and prove it on held-out samples: before, control, after."""
    del list_fixes
    to = destinations(format, output)
    arguments = key_values(model_arg or [])
    forced = tuple(name for name in fix or () if name != "auto")
    with progress_bar(quiet) as progress:
        from energydiag.pipeline import ModelOptions, RepairOptions, repair_checkpoint
        from energydiag.plan import TrainingPlan

        base = TrainingPlan(steps=steps, batch_size=batch_size, learning_rate=learning_rate, seed=seed, clip_norm=None)
        repair, planned = repair_checkpoint(
            checkpoint,
            batch,
            train_batch,
            ModelOptions(model, arguments, head, nhead, sign, device, dtype),
            RepairOptions(base, forced, seeds or (3 if thorough else 1), ablate, resume),
            out,
            tau=tau,
            holdout_fraction=holdout_fraction,
            dry_run=dry_run,
            command=["energydiag", *sys.argv[1:]],
            progress=progress,
        )
    if repair is None:
        _print_plan(planned)
        return
    next_command = None
    if repair.checkpoint:
        again = f" --model {model}" if model else ""
        next_command = f"energydiag inspect checkpoint {repair.checkpoint} --batch {batch}{again}"
    picture = write_figures(repair, plots or (out / "figures" if repair.applied else None))
    write(repair, to, details=False, next_command=next_command)
    if picture is not None and not quiet:
        typer.echo(f"figures: {picture}", err=True)
    raise typer.Exit(0 if repair.accepted else 1)


def _print_plan(planned: Any) -> None:
    from dataclasses import asdict

    from energydiag.plan import TrainingPlan

    usual = asdict(TrainingPlan())
    for applied in planned.applied:
        typer.echo(f"{applied.fix} ({', '.join(applied.handles) or 'needed by another fix'}): {applied.parameters}")
    for skipped in planned.skipped:
        typer.echo(f"not applied: {skipped.name}: {skipped.reason}")
    if planned.applied:
        changed = {key: value for key, value in asdict(planned.plan).items() if value != usual[key]}
        typer.echo("plan: " + ", ".join(f"{key}={value}" for key, value in changed.items()))
    else:
        typer.echo("nothing to do")
