"""The program: its commands, and what becomes of an error."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from energydiag import __version__
from energydiag.cli import (
    compare_checkpoints,
    compare_runs,
    demo,
    fix_and_retrain,
    inspect_batch,
    inspect_checkpoint,
    inspect_run,
    report,
    rules,
)
from energydiag.cli.config import FOUND, allowed, read_defaults
from energydiag.errors import EnergydiagError, UsageError
from energydiag.inert import message, without_commands

app = typer.Typer(
    name="energydiag",
    help="The health check for energy models: what a trained energy head E(h, a) suffers from, and what to change.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # its pretty help takes longer to load than all the rest
    pretty_exceptions_enable=False,
)
inspect_app = typer.Typer(help="Measure, diagnose, explain.", no_args_is_help=True)
app.add_typer(inspect_app, name="inspect")
compare_app = typer.Typer(help="Side by side: what became better, and what is chance.", no_args_is_help=True)
app.add_typer(compare_app, name="compare")

_COMMANDS: tuple[tuple[typer.Typer, str, Callable[..., None], str], ...] = (
    (inspect_app, "batch", inspect_batch.inspect_batch, "A batch dump alone."),
    (inspect_app, "checkpoint", inspect_checkpoint.inspect_checkpoint, "Checkpoints on a batch dump: the main job."),
    (inspect_app, "run", inspect_run.inspect_run, "A training log alone."),
    (compare_app, "checkpoints", compare_checkpoints.compare_checkpoints, "Checkpoints, on the same samples."),
    (compare_app, "runs", compare_runs.compare_runs, "Training runs, from their logs."),
    (app, "fix-and-retrain", fix_and_retrain.fix_and_retrain, "Choose or take fixes, retrain, prove what they do."),
    (app, "report", report.report, "Draw a saved result again, without measuring."),
    (app, "rules", rules.rules, "The catalogue of rules; why, and what to do."),
    (app, "demo", demo.demo, "Diagnose a sample that comes with the package."),
)
for _group, _name, _command, _summary in _COMMANDS:
    _group.command(_name, short_help=_summary)(_command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"energydiag {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            help="TOML file with defaults for options; without it, [tool.energydiag] of ./pyproject.toml, but for "
            "options that run code, write files or reach other machines."
        ),
    ] = None,
    no_config: Annotated[
        bool, typer.Option("--no-config", help="Read no ./pyproject.toml, as in CI on others' pull requests.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and stop."),
    ] = False,
) -> None:
    """The health check for energy models."""
    del version
    defaults = {} if no_config and config is None else read_defaults(config)
    unknown = sorted(set(defaults) - _option_names(context.command))
    if unknown:
        where = f"The config file {config}" if config else f"[tool.energydiag] of ./{FOUND}"
        raise UsageError(
            f"{where} names no option of any command: {', '.join(unknown)}.",
            "see `energydiag COMMAND --help`" + ("." if config else ", or read no such file: energydiag --no-config …"),
        )
    defaults, refused = allowed(defaults, config)
    if refused:
        typer.echo(
            f"energydiag: {FOUND} sets {', '.join(refused)}, which the command line alone may; not taken.\n"
            f"  next: type {'it' if len(refused) == 1 else 'them'}, or name the file: --config {FOUND}",
            err=True,
        )
    context.default_map = _for_every_command(context.command, defaults)


_OF_ONE_CALL = {"out", "shard", "merge", "save_baseline"}
"""Options that no file sets for every call: what they do would be done again, or to something else."""


def _option_names(command: Any) -> set[str]:
    names = {p.name for p in command.params if p.param_type_name == "option"} - _OF_ONE_CALL
    return names.union(*(_option_names(inner) for inner in getattr(command, "commands", {}).values()))


def _for_every_command(command: Any, defaults: dict[str, Any]) -> dict[str, Any]:
    """The same defaults for every command that has such an option, in the nested form that click takes."""
    if hasattr(command, "commands"):
        return {name: _for_every_command(inner, defaults) for name, inner in command.commands.items()}
    return {p.name: defaults[p.name] for p in command.params if p.name in defaults and p.param_type_name == "option"}


def _usable_streams() -> None:
    """Streams that are closed swallow what is written; what one's encoding lacks is replaced."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))  # as long as the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _check_folder() -> None:
    try:
        Path.cwd()
    except OSError as error:  # torch's libraries end the process there
        raise UsageError("The current folder was removed.", "go to one that is there: cd.") from error


def main() -> None:
    """Runs the program; a user's mistake is one line and exit code 2, never a traceback."""
    _usable_streams()
    warnings.simplefilter("ignore", RuntimeWarning)  # of NumPy, for numbers that a stranger chose; they are judged
    try:
        _check_folder()
        app()
    except EnergydiagError as error:
        told = f"energydiag: {message(error.message)}\n  next: {message(error.next_step)}"
        typer.echo(without_commands(told), err=True)
        sys.exit(error.exit_code)
    except OSError as error:  # such as a full disk behind stdout; Typer itself sees to interrupts and closed pipes
        typer.echo(
            f"energydiag: the result cannot be written: {error.strerror or error}\n  next: free space, or --output.",
            err=True,
        )
        sys.exit(2)
