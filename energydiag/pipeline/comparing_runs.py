"""Training runs side by side, from their logs."""

from __future__ import annotations

import fnmatch
import functools
import itertools
import math
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from energydiag import __version__
from energydiag.errors import UsageError
from energydiag.pipeline.baselines import Baseline, read_baseline
from energydiag.pipeline.limits import kept_to
from energydiag.results import Band, Comparison, Difference, MetricChange, Ranking, Side, Skipped
from energydiag.results.changes import overall
from energydiag.runs import Limits, RunLog, Told, limits_of, read_run
from energydiag.runs.log import FloatArray, Series
from energydiag.runs.meaning import HEAD, MEANINGS, NEGATIVES, NONE_BETTER, TAU, Meaning
from energydiag.runs.places import Reading, at_best, at_end, at_step, step_at_time
from energydiag.side_by_side import Number, changes

LAST, BEST, STEP, TIME = "last", "best", "equal step", "equal time"
PLACES = (STEP, LAST, BEST, TIME)
"""Where in the runs numbers are taken; the verdict rests on the first that differs from `LAST`, unless one is asked."""

FINITE = "finite_share"
"""Share of the points that are finite among the last tenth of the loss."""

_BINS = 200
"""Points of a band; no figure shows more."""

_FEWEST_BINS = 20
"""Points of a band, where the run has as many; beyond that five are taken together, so that they show their scatter."""

_MOST_POINTS = (0.05, 0.95)
"""Between which quantiles of neighbouring points a band lies."""

_MOST_DIFFERENCES = 200
"""Settings in which runs differ, at most (a guess: beyond that they have nothing in common)."""


@dataclass(frozen=True)
class _Run:
    """A log, and what is known of its loss."""

    log: RunLog
    limits: Limits

    @property
    def last_step(self) -> float:
        return max(float(series.step[-1]) for series in self.log.series.values())

    @property
    def bonds(self) -> dict[str, str]:
        """What numbers may be bound to, as far as it is known."""
        known = {HEAD: self.limits.head, TAU: self.limits.tau, NEGATIVES: self.limits.negatives}
        return {
            name: f"{value:.4g}" if isinstance(value, float) else str(value)
            for name, value in known.items()
            if value is not None
        }


@dataclass(frozen=True)
class _Group:
    """One side: a run, or several that differ by their seeds."""

    name: str
    runs: tuple[_Run, ...]


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
    sides = (*([] if state is None else [state.side]), *(_side(group) for group in groups))
    return Comparison(
        verdict=overall(here),
        subject="runs",
        at=judged_at,
        sides=sides,
        metrics=rows,
        rankings=tuple(rankings(numbers, here, judged_at)),
        differences=tuple(_differences(groups)),
        bands=tuple(_bands(groups)),
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
    return Baseline("runs", _side(groups[0]), tuple(numbers_of(groups[0].runs, places, metrics)[0]))


def groups_of(
    paths: Sequence[str | Path], names: Mapping[str, str] | None, group_by: str | None, told: Told | None
) -> tuple[_Group, ...]:
    """The logs, each a side of its own, or those together that differ in one setting alone.

    Raises:
        EnergydiagError: As `compare_runs`.
    """
    logs = [read_run(path, names) for path in paths]
    runs = [_Run(log, limits_of(log, told or Told())) for log in logs]
    called = distinct_names([str(path) for path in paths])
    if group_by is None:
        return tuple(_Group(name, (run,)) for name, run in zip(called, runs, strict=True))
    found: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for number, run in enumerate(runs):
        if not any(_is_setting(key, group_by) for key in run.log.config):
            raise UsageError(
                f"{run.log.path} does not tell its {group_by!r}, by which runs should be grouped.",
                f'write it into config.json beside the log: {{"{group_by}": 0}}.',
            )
        rest = tuple(sorted((k, v) for k, v in run.log.config.items() if not _is_setting(k, group_by)))
        found.setdefault(rest, []).append(number)
    return tuple(
        _Group(_common([called[n] for n in members]), tuple(runs[n] for n in members)) for members in found.values()
    )


def _is_setting(key: str, wanted: str) -> bool:
    """Whether a setting is this one, also inside of others: ``training.seed`` is a ``seed``."""
    return key == wanted or key.endswith(f".{wanted}")


def _enough(groups: Sequence[_Group], state: Baseline | None, group_by: str | None) -> None:
    if len(groups) + (state is not None) < 2:
        together = f" (all runs differ in their {group_by} alone)" if group_by else ""
        raise UsageError(f"There is one side only{together}.", "name two runs at least, or give --baseline FILE.")


def distinct_names(paths: Sequence[str]) -> list[str]:
    """Short names that tell paths apart: as many of their last parts as that takes, without what all are called."""
    parts = [Path(path).resolve().parts for path in paths]
    several = len(set(parts))
    while several > 1 and len({own[-1] for own in parts}) == 1:
        parts = [own[:-1] for own in parts]
    depth = 1
    while len({own[-depth:] for own in parts}) < several:
        depth += 1
    shown = ["/".join(own[-depth:]) for own in parts]
    return [name if shown.count(name) == 1 else f"{name}#{shown[: n + 1].count(name)}" for n, name in enumerate(shown)]


def _common(names: Sequence[str]) -> str:
    """What the names of a group begin with, and how many it is."""
    start = names[0]
    while not all(name.startswith(start) for name in names):
        start = start[:-1]
    start = start.rstrip("/._-0123456789 ") or names[0]
    for ending in ("seed", "s"):
        bare = start.removesuffix(ending).rstrip("/._- ")
        start = bare if bare and bare != start and len(names) > 1 else start
    return start if len(names) == 1 else f"{start} ({len(names)} runs)"


def _places(groups: Sequence[_Group], state: Baseline | None) -> Iterator[tuple[str, Callable[[_Run], float | None]]]:
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
    runs: Sequence[_Run], places: Mapping[str, Callable[[_Run], float | None]], metrics: Sequence[str] = ()
) -> tuple[list[Number], list[Skipped]]:
    """A side's numbers at every place, and the metrics that it cannot give."""
    found: list[Number] = []
    skipped: list[Skipped] = []
    names = [name for name in (*MEANINGS, *NONE_BETTER) if not metrics or _wanted(name, metrics)]
    for place, step_of in places.items():
        found += _finite_share(runs, place) if not metrics or _wanted(FINITE, metrics) else []
        for name in names:
            meaning = MEANINGS.get(name)
            readings = [_reading(run, name, place, step_of(run), meaning) for run in runs]
            there = [reading for reading in readings if reading is not None]
            if len(there) == len(runs):
                found.append(_number(name, place, there, runs, meaning))
            elif any(name in run.log.series for run in runs) and place == LAST:
                count = len(runs) - len(there)
                skipped.append(Skipped(name, f"{count} of {len(runs)} runs have no finite value of it"))
    return found, skipped


def _wanted(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _reading(run: _Run, name: str, place: str, step: float | None, meaning: Meaning | None) -> Reading | None:
    series = run.log.finite(name)
    if series is None or not len(series):
        return None
    if place == BEST:
        return None if meaning is None else at_best(series, higher=meaning.better == "higher")
    if place == LAST:
        return at_end(series)
    return None if step is None else at_step(series, step)


def _number(
    name: str, place: str, readings: Sequence[Reading], runs: Sequence[_Run], meaning: Meaning | None
) -> Number:
    values = np.array([reading.value for reading in readings])
    value = float(values.mean())
    if meaning is None:
        return Number(name, value, "none", at=place)
    if len(values) > 1:
        error, freedom = float(values.std(ddof=1)) / math.sqrt(len(values)), len(values) - 1.0
    else:
        error, freedom = math.hypot(meaning.scaled(meaning.seeds, value), readings[0].error or 0.0), math.inf
    bonds = {key: own for key, own in runs[0].bonds.items() if key in meaning.bound_to}
    return Number(
        name,
        value,
        meaning.better,
        meaning.scaled(meaning.matters, value),
        place,
        error=error,
        freedom=freedom,
        bound_to=bonds,
    )


def _finite_share(runs: Sequence[_Run], place: str) -> Iterable[Number]:
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
        better = own[0].better
        order = sorted(values, key=lambda side: values[side], reverse=better == "higher")
        yield Ranking(name, place, better, {side: values[side] for side in order})


def _side(group: _Group) -> Side:
    first = group.runs[0]
    facts = {
        "format": first.log.format,
        "steps": f"{first.last_step:.10g}",
        **first.bonds,
        "sha256": first.log.sha256,
    }
    if len(group.runs) > 1:
        facts["runs"] = str(len(group.runs))
    return Side(group.name, tuple(run.log.path for run in group.runs), facts)


def _differences(groups: Sequence[_Group]) -> Iterator[Difference]:
    configs = {group.name: group.runs[0].log.config for group in groups}
    keys = dict.fromkeys(key for config in configs.values() for key in config)
    told = 0
    for key in keys:
        values = {name: config.get(key, "") for name, config in configs.items()}
        if len(set(values.values())) > 1 and told < _MOST_DIFFERENCES:
            told += 1
            yield Difference(key, values)


def _bands(groups: Sequence[_Group]) -> Iterator[Band]:
    for name in MEANINGS:
        for group in groups:
            own = [found for run in group.runs if (found := run.log.finite(name)) is not None and len(found)]
            if own:
                yield _band(name, group.name, own)


def _band(name: str, side: str, own: Sequence[Series]) -> Band:
    """One run: the mean of neighbouring points, and where nine of ten of them lie. Several: their mean and range."""
    low_step, high_step = min(float(s.step[0]) for s in own), max(float(s.step[-1]) for s in own)
    longest = max(len(series) for series in own)
    count = min(_BINS, longest, max(_FEWEST_BINS, longest // 5))
    edges = np.linspace(low_step, high_step, count + 1)
    if len(own) > 1:
        means = np.stack([_in_bins(series, edges, np.mean) for series in own])
        kept = np.isfinite(means).all(axis=0)
        middle, low, high = means.mean(axis=0), means.min(axis=0), means.max(axis=0)
    else:
        middle = _in_bins(own[0], edges, np.mean)
        low, high = (_in_bins(own[0], edges, functools.partial(np.quantile, q=share)) for share in _MOST_POINTS)
        kept = np.isfinite(middle)
    middle_steps = (edges[:-1] + edges[1:]) / 2
    columns = (middle_steps[kept], middle[kept], low[kept], high[kept])
    x, y, lower, upper = (tuple(float(f"{value:.6g}") for value in column) for column in columns)
    return Band(name, side, x, y, lower, upper)


def _in_bins(series: Series, edges: FloatArray, statistic: Callable[[FloatArray], float]) -> FloatArray:
    """Of the points of every bin; NaN for an empty one."""
    places = np.searchsorted(series.step, edges)
    places[-1] = len(series)
    return np.array(
        [
            statistic(series.value[start:end]) if end > start else np.nan
            for start, end in itertools.pairwise(places.tolist())
        ]
    )


def _notes(groups: Sequence[_Group], places: Mapping[str, Callable[[_Run], float | None]]) -> Iterator[str]:
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
