"""Where results go: formats to stdout or files, figures to a folder, progress to stderr."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from energydiag.cli.config import set_by_file
from energydiag.errors import UsageError
from energydiag.inert import inert, without_commands

if TYPE_CHECKING:
    from energydiag.reports.report import Result
    from energydiag.results import Diagnosis

_NARROW = 80


@dataclass(frozen=True)
class Destination:
    """A format and where it goes (None: stdout)."""

    format: str
    path: Path | None


def destinations(formats: Sequence[str] | None, output: Path | None) -> tuple[Destination, ...]:
    """What ``--format`` and ``--output`` ask for.

    Raises:
        UsageError: An unknown format, or two results for one place.
    """
    from energydiag.reports import reports

    found = []
    for text in formats or ["text"]:
        name, _, path = text.partition("=")
        if name not in reports():
            raise UsageError(f"No format is called {name!r}.", f"use one of: {', '.join(sorted(reports()))}.")
        found.append(Destination(name, Path(path) if path else output))
    places = [str(d.path or "-") for d in found]
    if len(set(places)) < len(places):
        raise UsageError("Two formats would go to the same place.", "give each its own file: --format json=PATH.")
    return tuple(Destination(d.format, None if str(d.path) == "-" else d.path) for d in found)


def write(result: Result, to: Sequence[Destination], *, details: bool, next_command: str | None) -> None:
    """Writes the result in every format.

    Raises:
        UsageError: A file cannot be written.
    """
    from energydiag.atomic import write_text
    from energydiag.reports import reports
    from energydiag.reports.report import Look

    told = set_by_file()
    if told:
        result = replace(result, provenance={**result.provenance, "config": told})
    for destination in to:
        terminal = destination.path is None and sys.stdout.isatty()
        look = Look(
            width=shutil.get_terminal_size((_NARROW, 24)).columns if terminal else _NARROW,
            colour=terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb",
            details=details,
            next_command=next_command,
        )
        text = reports()[destination.format].render(result, look)
        if destination.path is None:
            is_ours = destination.format == "github" or os.environ.get("GITHUB_ACTIONS") != "true"
            typer.echo(text if is_ours else without_commands(text), nl=False)
        else:
            write_text(destination.path, text)


def write_figures(result: Result, folder: Path | None) -> Path | None:
    """Draws the figures, if a folder is given; the overview's path.

    Raises:
        UsageError: The folder cannot be written to.
    """
    if folder is None:
        return None
    from energydiag.figures import save_figures

    written = save_figures(result, folder)
    return written[0] if written else None


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Callable[[str], None]]:
    """Tells on stderr what is being done: live on a terminal, else a line now and then, as CI logs want it."""
    if quiet:
        yield lambda _step: None
        return
    if not sys.stderr.isatty():
        yield _Occasionally().tell
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("loading", total=None)
        yield lambda step: progress.update(task, description=step)


class _Occasionally:
    """Writes what it is told to stderr, but only once in a while."""

    seconds = 30.0

    def __init__(self) -> None:
        self._last = self._start = time.monotonic()

    def tell(self, step: str) -> None:
        now = time.monotonic()
        if now - self._last >= self.seconds:
            self._last = now
            typer.echo(f"[{now - self._start:.0f} s] {inert(step)}", err=True)


def leave(code: int, doubt: str) -> NoReturn:
    """Ends the command; where that is 0 in spite of a doubt, the last line on stderr says so.

    Args:
        code: The exit code.
        doubt: What is not known and could change the verdict; empty where there is nothing.
    """
    if code == 0 and doubt:
        typer.echo(f"not an all-clear: {doubt} (--inconclusive-fails exits with 3)", err=True)
    raise typer.Exit(code)


def doubt(fail_on: str, *diagnoses: Diagnosis) -> str:
    """How many open questions could be as bad as ``fail_on`` has it (critical, where that is never), in words."""
    count = sum(question.could_be in _failing(fail_on) for one in diagnoses for question in one.open)
    what = "1 open question" if count == 1 else f"{count} open questions"
    return f"{what} could change the verdict" if count else ""


def _failing(fail_on: str) -> tuple[str, ...]:
    return ("warning", "critical") if fail_on == "warning" else ("critical",)


def exit_code(diagnosis: Diagnosis, fail_on: str, inconclusive_fails: bool) -> int:
    """1 where a finding is at or above ``fail_on``, 3 where an open question could be and that is to fail, else 0."""
    failing = _failing(fail_on)
    if fail_on != "never" and any(finding.severity in failing for finding in diagnosis.findings):
        return 1
    return 3 if inconclusive_fails and doubt(fail_on, diagnosis) else 0
