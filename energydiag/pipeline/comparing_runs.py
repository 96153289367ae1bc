"""Training runs side by side, from their logs."""

from __future__ import annotations

import fnmatch
import math
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from energydiag import __version__
from energydiag.errors import UsageError
from energydiag.metrics import HEAD, SERIES, TAU, Metric
from energydiag.pipeline.bands import bands
from energydiag.pipeline.baselines import Baseline, read_baseline
from energydiag.pipeline.limits import kept_to
from energydiag.pipeline.sides_of_runs import Group, Run, differences, groups_of, side_of
from energydiag.results import Comparison, MetricChange, Ranking, Skipped
from energydiag.results.changes import overall
from energydiag.runs import Told
from energydiag.runs.places import Reading, at_best, at_end, at_step, step_at_time
from energydiag.statistics.verdicts import Number, changes

LAST, BEST, STEP, TIME = "last", "best", "equal step", "equal time"
PLACES = (STEP, LAST, BEST, TIME)
"""Where in the runs numbers are taken; the verdict rests on the first that differs from `LAST`, unless one is asked."""

FINITE = "finite_share"
"""Share of the points that are finite among the last tenth of the loss."""


def compare_runs(
    paths: Sequence[str | Path],
    *,
    names: Mapping[str, str] | None = None,
    at: str | None = None,
    group_by: str | None = None,
    metrics: Sequence[str] = (),
    allowed: Mapping[str, str] | None = None,
    baseline: str | Path | None = None,
    told: Told | None = None,
    command: Iterable[str] = (),
) -> Comparison:
    """Compares training runs with the first of them, from their logs alone.

    Args:
        paths: Logs, or folders that hold them, as `inspect_run` takes them.
        names: Our names to those of the logs' columns, where they are not found by themselves.
        at: Where the verdict is taken: ``"last"``, ``"best"``, ``"equal step"`` or ``"equal time"``; None: at the last
            step that all sides reached.
        group_by: A setting, ``seed`` above all: runs that differ in nothing else are one side.
        metrics: Patterns of names of metrics; empty: all that are understood.
        allowed: Largest regression by metric, ``5%`` of the first side's value or a number.
        baseline: A file that `save_baseline` wrote; it is the first side.
        told: What the logs do not tell, the same for all.
        command: The command line, for the result's provenance.

    Raises:
        UnreadableFile: A log or the baseline cannot be read.
        UsageError: There are fewer than two sides, or something asked for does not exist.
    """
    state = None if baseline is None else read_baseline(baseline, "runs")
    groups = groups_of(paths, names, group_by, told)
    _enough(groups, state, group_by)
    places = dict(_places(groups, state))
    if at is not None and at not in PLACES:
        raise UsageError(f"--at is one of {', '.join(PLACES)}, not {at!r}.", "leave it out.")
    if at is not None and at not in places:
        raise UsageError(f"The runs cannot be compared at {at!r}: {_why_not(at)}.", "leave --at out.")
    judged_at = at or next(place for place in PLACES if place in places)
    numbers: dict[str, list[Number]] = {} if state is None else {state.side.name: list(state.numbers)}
    skipped: list[Skipped] = []
    for group in groups:
        found, left_out = numbers_of(group.runs, places, metrics)
        numbers[group.name] = found
        skipped += [Skipped(f"{group.name}.{one.name}", one.reason) for one in left_out]
    rows = changes(numbers)
    if not rows:
        raise UsageError("The runs have no metric in common.", "say what they call the same: --map loss=NAME.")
    here = [row for row in rows if row.at == judged_at]
    sides = (*([] if state is None else [state.side]), *(side_of(group) for group in groups))
    return Comparison(
        verdict=overall(here),
        subject="runs",
        at=judged_at,
        sides=sides,
        metrics=rows,
        rankings=tuple(rankings(numbers, here, judged_at)),
        differences=tuple(differences(groups)),
        bands=tuple(bands(groups)),
        limits=kept_to(allowed or {}, here),
        skipped=tuple(skipped),
        notes=tuple(_notes(groups, places)),
        provenance={
            "versions": {"python": platform.python_version(), "numpy": np.__version__},
            "command": list(command),
        },
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        energydiag_version=__version__,
    )


def run_baseline(
    path: str | Path,
    *,
    names: Mapping[str, str] | None = None,
    metrics: Sequence[str] = (),
    told: Told | None = None,
) -> Baseline:
    """The state of one run, to be kept: what it is at its end and at its best.

    Raises:
        EnergydiagError: As `compare_runs`.
    """
    groups = groups_of([path], names, None, told)
    places = {place: step_of for place, step_of in _places(groups, None) if place in (LAST, BEST)}
    return Baseline("runs", side_of(groups[0]), tuple(numbers_of(groups[0].runs, places, metrics)[0]))


def _enough(groups: Sequence[Group], state: Baseline | None, group_by: str | None) -> None:
    if len(groups) + (state is not None) < 2:
        together = f" (all runs differ in their {group_by} alone)" if group_by else ""
        raise UsageError(f"There is one side only{together}.", "name two runs at least, or give --baseline FILE.")


def _places(groups: Sequence[Group], state: Baseline | None) -> Iterator[tuple[str, Callable[[Run], float | None]]]:
    """Where numbers can be taken: the name of the place, and the step of it in a run (None: the end, or the best)."""
    runs = [run for group in groups for run in group.runs]
    if state is None:
        common = min(run.last_step for run in runs)
        if any(run.last_step != common for run in runs):
            yield STEP, lambda _run: common
    yield LAST, lambda _run: None
    yield BEST, lambda _run: None
    clocks = [run.log.finite("seconds") for run in runs]
    if state is None and all(clock is not None for clock in clocks):
        time = min(float(clock.value.max()) for clock in clocks if clock is not None)
        yield TIME, lambda run: step_at_time(run.log.series["seconds"].finite(), time)


def _why_not(at: str) -> str:
    return {
        STEP: "all end at the same step, or one of them is a baseline",
        TIME: "not every log has a clock (seconds), or one of them is a baseline",
    }.get(at, "nothing is there")


def numbers_of(
    runs: Sequence[Run], places: Mapping[str, Callable[[Run], float | None]], metrics: Sequence[str] = ()
) -> tuple[list[Number], list[Skipped]]:
    """A side's numbers at every place, and the metrics that it cannot give."""
    found: list[Number] = []
    skipped: list[Skipped] = []
    wanted = [metric for metric in SERIES.values() if not metrics or _wanted(metric.name, metrics)]
    for place, step_of in places.items():
        found += _finite_share(runs, place) if not metrics or _wanted(FINITE, metrics) else []
        for metric in wanted:
            readings = [_reading(run, metric, place, step_of(run)) for run in runs]
            there = [reading for reading in readings if reading is not None]
            if len(there) == len(runs):
                found.append(_number(metric, place, there, runs))
            elif any(metric.name in run.log.series for run in runs) and place == LAST:
                count = len(runs) - len(there)
                skipped.append(Skipped(metric.name, f"{count} of {len(runs)} runs have no finite value of it"))
    return found, skipped


def _wanted(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _reading(run: Run, metric: Metric, place: str, step: float | None) -> Reading | None:
    series = run.log.finite(metric.name)
    if series is None or not len(series):
        return None
    if place == BEST:
        return None if metric.better == "none" else at_best(series, higher=metric.better == "higher")
    if place == LAST:
        return at_end(series)
    return None if step is None else at_step(series, step)


def _number(metric: Metric, place: str, readings: Sequence[Reading], runs: Sequence[Run]) -> Number:
    values = np.array([reading.value for reading in readings])
    value = float(values.mean())
    if metric.better is None or metric.better == "none" or metric.min_effect is None:
        return Number(metric.name, value, "none", at=place)
    if len(values) > 1:
        error, freedom = float(values.std(ddof=1)) / math.sqrt(len(values)), len(values) - 1.0
    else:
        error, freedom = math.hypot(metric.scaled(metric.seeds, value), readings[0].error or 0.0), math.inf
    bonds = {key: own for key, own in runs[0].bonds.items() if key in (metric.bound_to or ())}
    return Number(
        metric.name,
        value,
        metric.better,
        metric.scaled(metric.min_effect, value),
        place,
        error=error,
        freedom=freedom,
        bound_to=bonds,
    )


def _finite_share(runs: Sequence[Run], place: str) -> Iterable[Number]:
    """A run that ended in NaN is worse than one that did not, and no mean says so."""
    if place not in (LAST, STEP):
        return
    shares = []
    for run in runs:
        series = next((run.log.series[name] for name in ("info_nce", "loss") if name in run.log.series), None)
        if series is None:
            return
        late = series.value[-max(1, len(series) // 10) :]
        shares.append(float(np.isfinite(late).mean()))
    yield Number(FINITE, float(np.mean(shares)), "higher", 0.01, place, error=0.0)


def rankings(numbers: Mapping[str, Sequence[Number]], rows: Sequence[MetricChange], place: str) -> Iterator[Ranking]:
    """All sides in the order of every number that has a direction and is comparable, where there are three or more."""
    if len(numbers) < 3:
        return
    for name in dict.fromkeys(row.name for row in rows):
        own = [row for row in rows if row.name == name]
        if any(row.better == "none" for row in own):
            continue
        values = {
            side: number.value
            for side, there in numbers.items()
            for number in there
            if (number.name, number.at) == (name, place)
        }
        if len(set(values.values())) == 1:
            continue
        better = own[0].better
        order = sorted(values, key=lambda side: values[side], reverse=better == "higher")
        yield Ranking(name, place, better, {side: values[side] for side in order})


def _notes(groups: Sequence[Group], places: Mapping[str, Callable[[Run], float | None]]) -> Iterator[str]:
    runs = [run for group in groups for run in group.runs]
    if STEP in places:
        common = min(run.last_step for run in runs)
        yield f"Equal step: {common:.10g}, the last that all runs reached."
    if any(len(group.runs) == 1 for group in groups):
        yield (
            "A side with one run cannot tell how far seeds alone move it; what they did in energydiag's own benchmark "
            "is allowed for. Several seeds a side and --group-by seed measure it."
        )
    for what, words in ((HEAD, "the head (--head)"), (TAU, "the temperature (--tau)")):
        silent = [group.name for group in groups if what not in group.runs[0].bonds]
        if silent:
            yield (
                f"Not told by {', '.join(silent)}: {words}; losses are compared as if it were the same "
                "(config.json beside the log tells it, too)."
            )
    for group in groups:
        for run in group.runs:
            yield from (f"{group.name}: {note}" for note in run.log.notes)
