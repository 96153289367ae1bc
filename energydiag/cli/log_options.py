"""Options of the commands that read training logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from energydiag.errors import UsageError

Map = Annotated[
    list[str] | None,
    typer.Option(help="OURS=THEIRS: what a quantity is called in the log, as in loss=train/total; repeatable."),
]
BatchSize = Annotated[
    int | None, typer.Option(min=1, max=10**12, help="Contexts per step of training. [default: config.json's]")
]
Negatives = Annotated[
    int | None, typer.Option(min=1, max=10**12, help="Negatives per context. [default: batch size less one]")
]
Tau = Annotated[
    float | None, typer.Option(min=1e-6, help="Temperature of training. [default: the log's, else config.json's]")
]


def names_of(pairs: Sequence[str] | None) -> dict[str, str]:
    """Our names to theirs.

    Raises:
        UsageError: A pair is none, or a name of ours stands twice.
    """
    found: dict[str, str] = {}
    for pair in pairs or ():
        ours, separator, theirs = pair.partition("=")
        if not (separator and ours and theirs):
            raise UsageError(f"--map must be OURS=THEIRS, not {pair!r}.", "write, for example, --map loss=train/total.")
        if ours in found:
            raise UsageError(f"--map names {ours} twice.", "give every quantity one column.")
        found[ours] = theirs
    return found
