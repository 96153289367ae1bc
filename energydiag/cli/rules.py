"""``energydiag rules``: the catalogue, and one rule explained."""

from __future__ import annotations

from typing import Annotated

import typer

from energydiag.errors import UsageError


def rules(
    code: Annotated[str | None, typer.Argument(help="A rule's code or name; without it, all are listed.")] = None,
) -> None:
    """The catalogue of rules; why one exists, and what to do about its finding."""
    from energydiag.rules import rules as known
    from energydiag.rules.calibration import calibrations

    if code is None:
        for rule in known().values():
            typer.echo(f"{rule.code}  {rule.name:<22}  {rule.page.splitlines()[0].partition(': ')[2]}")
        typer.echo("\nenergydiag rules CODE explains one.")
        return
    for rule in known().values():
        if code.lower() in (rule.code.lower(), rule.name):
            typer.echo(_page(rule.code, rule.name, rule.page))
            for name, threshold in rule.thresholds.items():
                typer.echo(f"Threshold ({name}): {threshold.value:g}; {threshold.source}.")
            seen = calibrations().get(rule.code)
            if seen is not None:
                typer.echo("\n".join(["", "On the fault benchmark's calibration part:", *seen.lines(), ""]))
            if rule.fixes:
                typer.echo(f"Fixes: {', '.join(rule.fixes)}.")
            return
    raise UsageError(f"No rule is called {code!r}.", "list them with `energydiag rules`.")


def _page(code: str, name: str, page: str) -> str:
    lines = [line[3:].upper() if line.startswith("## ") else line for line in page.splitlines()]
    return "\n".join([f"{code} {name}", "", *lines, ""])
