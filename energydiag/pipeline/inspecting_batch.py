"""A batch dump alone: read, measure, judge."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy
import torch

from energydiag import __version__
from energydiag.batches import read_batch
from energydiag.pipeline.inspecting import describe_batch
from energydiag.pipeline.splitting import usable
from energydiag.probes import measure_data
from energydiag.results import BatchDiagnosis, Skipped
from energydiag.rules import judge

DATA_RULES = "ED6"
"""How the codes begin of rules that look at the data, and at nothing else."""


def inspect_batch(
    path: str | Path,
    *,
    seed: int = 0,
    limit: int | None = None,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    command: Iterable[str] = (),
) -> BatchDiagnosis:
    """Measures a batch dump and says what it suffers from.

    Args:
        path: As `load_batch` takes it.
        seed: Of resampling.
        limit: Use at most so many samples, spread over the episodes.
        select: Codes of rules, or beginnings of codes, to ask; empty: all.
        ignore: Codes not to ask.
        command: The command line, for the result's provenance.

    Raises:
        UnreadableFile, InvalidBatch: As `load_batch`.
        UsageError: ``select`` or ``ignore`` names no rule.
    """
    loaded = read_batch(Path(path))
    check = loaded.check()
    batch = loaded.batch if limit is None else loaded.batch.select(loaded.batch.spread(limit))
    answer = measure_data(batch, seed)
    judged = judge(answer.measurements, select, ignore, unmeasured=answer.skipped)
    unread = (Skipped(f"batch.{name}", "this key of the dump means nothing here") for name in loaded.unknown)
    notes = []
    if batch.episode is None:
        notes.append("The dump names no episodes; intervals take samples as independent and may be too narrow.")
    return BatchDiagnosis(
        verdict=judged.verdict,
        batch=replace(
            describe_batch(loaded.batch, batch.select(usable(batch))),
            path=str(path),
            format=loaded.file.format,
            sha256=check.sha256(),
        ),
        measurements=answer.measurements,
        findings=judged.findings,
        open=judged.open,
        skipped=(*answer.skipped, *(s for s in judged.skipped if s.name.startswith(DATA_RULES)), *unread),
        notes=tuple(notes),
        provenance={
            "seed": seed,
            "versions": {
                "python": platform.python_version(),
                "torch": str(torch.__version__),
                "numpy": numpy.__version__,
            },
            "command": list(command),
        },
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        energydiag_version=__version__,
    )
