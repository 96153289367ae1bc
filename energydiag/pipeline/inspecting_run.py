"""A training log alone: what it suffers from."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from energydiag import __version__
from energydiag.pipeline.judging_run import JudgedRun, judged_run
from energydiag.results import Curve, RunDiagnosis, RunFacts
from energydiag.runs import Limits, RunLog, Series, Told
from energydiag.runs.energies import gap_of
from energydiag.runs.limits import objective_series
from energydiag.runs.names import LOSSES

RUN_RULES = "ED7"
"""How the codes begin of rules that look at training logs, and at nothing else."""

_DRAWN = 500
"""Points of a curve; more are averaged with their neighbours, since no figure is wider."""


def inspect_run(
    path: str | Path,
    *,
    names: Mapping[str, str] | None = None,
    batch_size: int | None = None,
    negatives: int | None = None,
    head: str | None = None,
    tau: float | None = None,
    objective: str | None = None,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    command: Iterable[str] = (),
) -> RunDiagnosis:
    """Measures the log of a training run and says what the run suffers from.

    Args:
        path: The log, in any of the formats of ``docs/run-logs.md``, or the folder that holds one and perhaps
            ``config.json``; where there are several runs, with ``#`` and the id or name of one behind it.
        names: Our names to those of the log's columns, where they are not found by themselves.
        batch_size: Contexts per step; None: as ``config.json`` says. Likewise the following.
        negatives: Negatives per context, where they are not just the batch's other contexts.
        head: Kind of the head.
        tau: Temperature.
        objective: What it was trained with; None: as its settings say, or as the log shows.
        select: Codes of rules, or prefixes of codes, to evaluate; empty: all.
        ignore: Codes not to ask.
        command: The command line, for the result's provenance.

    Raises:
        UnreadableFile: The log is missing, of no known format, or holds no numbers.
        UsageError: Nothing in it is understood, there are several runs, or what was given does not fit.
    """
    judged = judged_run(path, names, Told(batch_size, negatives, head, tau, objective), select, ignore)
    log, limits = judged.log, judged.limits
    return RunDiagnosis(
        verdict=judged.verdict,
        run=_describe(judged),
        measurements=judged.measurements,
        findings=judged.findings,
        open=judged.open,
        skipped=judged.unmeasured + tuple(s for s in judged.not_asked if s.name.startswith(RUN_RULES)),
        curves=tuple(_curves(log, limits)),
        notes=tuple(_notes(log, limits)),
        provenance={
            "objective": limits.objective.objective.name or None,
            "negatives": limits.negatives,
            "head": limits.head,
            "tau": limits.tau,
            "versions": {"python": platform.python_version(), "numpy": np.__version__},
            "command": list(command),
        },
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        energydiag_version=__version__,
    )


def _describe(judged: JudgedRun) -> RunFacts:
    log, limits = judged.log, judged.limits
    return RunFacts(
        path=log.path,
        format=log.format,
        sha256=log.sha256,
        rows=log.rows,
        first_step=judged.first_step,
        last_step=judged.last_step,
        axis=log.axis,
        objective=limits.objective.objective.title,
        inferred=limits.objective.how,
        series=tuple(log.series),
        limits=tuple(limits.facts),
    )


def _notes(log: RunLog, limits: Limits) -> Iterable[str]:
    yield from log.notes
    yield from limits.unknown
    first = objective_series(log)
    found = None if first is None else first.finite()
    if limits.chance is None or not found or not limits.from_start or not limits.objective.objective.starts_at_chance:
        return
    start, chance = float(found.value[0]), limits.chance.value
    if not 0.75 * chance < start < 1.5 * chance:
        yield (
            f"The loss begins at {start:.3g}; an untrained model would have about {chance:.3g} with the negatives that "
            "are known. If it was untrained, they were others (--negatives)."
        )


def _curves(log: RunLog, limits: Limits) -> Iterable[Curve]:
    """Lines for the figures; the constants are drawn from the first to the last step."""
    lines: dict[str, Series | None] = {name: log.finite(name) for name in (*LOSSES, "validation_loss")}
    lines |= {"gap": gap_of(log), "auroc": log.finite("auroc")}
    if log.series.keys() >= {"info_nce", "loss"}:
        one, other = log.series["info_nce"], log.series["loss"]
        if np.array_equal(one.value, other.value, equal_nan=True):
            del lines["loss"]  # the same line twice
    ends = [0.0, 0.0]
    for name, series in lines.items():
        if series is not None and len(series):
            ends = [min(ends[0], float(series.step[0])), max(ends[1], float(series.step[-1]))]
            yield _curve(f"run.{name}", series)
    for name, value in (("chance", limits.chance and limits.chance.value), ("floor", limits.floor)):
        if value is not None:
            yield Curve(f"run.{name}", tuple(ends), (value, value))


def _curve(name: str, series: Series) -> Curve:
    parts = min(len(series), _DRAWN)
    with np.errstate(over="ignore"):
        step, value = (
            np.array([part.mean() for part in np.array_split(column, parts)]) for column in (series.step, series.value)
        )
    kept = np.isfinite(step) & np.isfinite(value)
    return Curve(name, tuple(step[kept].tolist()), tuple(value[kept].tolist()))
