"""``energydiag fix-and-retrain``: apply the fixes, retrain, prove it."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from energydiag.cli import options as o
from energydiag.cli.model_choice import ModelChoice, takes_model
from energydiag.cli.output import destinations, progress_bar, write, write_figures


def _list_fixes(wanted: bool) -> None:
    if not wanted:
        return
    from energydiag.fixes import fixes

    for fix in fixes().values():
        handles = f" [{', '.join(fix.handles)}]" if fix.handles else ""
        typer.echo(f"{fix.name:<26} {fix.changes}{handles}")
    raise typer.Exit


@takes_model
def fix_and_retrain(
    checkpoint: Annotated[Path, typer.Argument(help="The sick checkpoint.", show_default=False)],
    batch: o.Batch,
    out: Annotated[Path, typer.Option(help="Empty folder for the repaired checkpoint, logs and states.")],
    train_batch: Annotated[
        Path | None, typer.Option(help="What is trained on. [default: --batch, split by episode]")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(help="Log of the owner's training; its findings join the checkpoint's.", show_default=False),
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
    choice: ModelChoice = ModelChoice(),
    autocast: Annotated[
        bool | None,
        typer.Option(
            "--autocast/--no-autocast",
            help="Train with matrix products in bfloat16. [default: on CUDA devices that have it]",
        ),
    ] = None,
    seed: o.Seed = 0,
    format: o.Formats = None,
    output: o.Output = None,
    plots: o.Plots = None,
    quiet: o.Quiet = False,
) -> None:
    """Choose or take fixes, retrain, and prove it on held-out samples: before, control, after.

    Started by torchrun, all its processes train together, and the first one does everything else.
    """
    del list_fixes
    to = destinations(format, output)
    forced = tuple(name for name in fix or () if name != "auto")
    with progress_bar(quiet or os.environ.get("RANK", "0") != "0") as progress:
        from energydiag.pipeline import RepairOptions, repair_checkpoint
        from energydiag.plan import TrainingPlan
        from energydiag.training.ranks import Dismissed, Ranks, launched

        try:
            with launched(choice.device) as own_device:
                base = TrainingPlan(
                    steps=steps,
                    batch_size=batch_size,
                    learning_rate=learning_rate,
                    seed=seed,
                    clip_norm=None,
                    autocast="bfloat16" if _autocasts(autocast, own_device) else None,
                )
                repair, planned = repair_checkpoint(
                    checkpoint,
                    batch,
                    train_batch,
                    choice.on(own_device),
                    RepairOptions(base, forced, seeds or (3 if thorough else 1), ablate, resume),
                    out,
                    tau=choice.tau,
                    log=run,
                    holdout_fraction=holdout_fraction,
                    dry_run=dry_run,
                    command=["energydiag", *sys.argv[1:]],
                    progress=progress,
                )
                speaks = Ranks.current().is_first
        except Dismissed:
            speaks = False
    if not speaks:
        return
    if repair is None:
        _print_plan(planned)
        return
    next_command = None
    if repair.checkpoint:
        # what the options of the sick model say besides stands in the metadata of the repaired one
        again = choice.words(
            "head",
            "pool",
            "nhead",
            "mask",
            "sign",
            "tau",
            "objective",
            "candidates",
            "weights",
            "allow_global",
            "ignore_keys",
        )
        words = ["energydiag", "inspect", "checkpoint", repair.checkpoint, "--batch", str(batch), *again]
        next_command = shlex.join(words)
    picture = write_figures(repair, plots or (out / "figures" if repair.applied else None))
    write(repair, to, details=False, next_command=next_command)
    if picture is not None and not quiet:
        typer.echo(f"figures: {picture}", err=True)
    raise typer.Exit(0 if repair.accepted else 1)


def _autocasts(wanted: bool | None, device: str) -> bool:
    """What the user wants, else whether the device is one that bfloat16 makes faster."""
    if wanted is not None:
        return wanted
    import torch

    return device.startswith("cuda") and torch.cuda.is_available() and torch.cuda.is_bf16_supported()


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
