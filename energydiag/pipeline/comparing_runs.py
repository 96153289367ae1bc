"""Training runs side by side, from their logs."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from energydiag import __version__
from energydiag.errors import UsageError
from energydiag.metrics import HEAD, OBJECTIVE, TAU
from energydiag.pipeline.bands import bands
from energydiag.pipeline.baselines import Baseline, read_baseline
from energydiag.pipeline.judging_run import JudgedRun
from energydiag.pipeline.limits import kept_to
from energydiag.pipeline.numbers_of_runs import BEST, FINITE, LAST, STEP, TIME, Places, numbers_of
from energydiag.pipeline.sides_of_runs import Group, bonds, differences, groups_of, side_of
from energydiag.pipeline.states_of_runs import STATE, State, kept_state, outcome, state_of, without_wins
from energydiag.results import Comparison, MetricChange, Ranking, Side, Skipped
from energydiag.results.changes import worst
from energydiag.runs import Told
from energydiag.runs.places import step_at_time
from energydiag.statistics.verdicts import Number, changes

PLACES = (STEP, LAST, BEST, TIME)
"""Where in the runs numbers are taken; the verdict rests on the first of them that there is, unless one is asked."""


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

    Each is judged first, as `inspect_run` does: a broken run never wins, whatever its numbers are.

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
    places = _places(groups, state)
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
    states = _states(groups, state)
    rows = without_wins(changes(_without_whole_shares(numbers)), states)
    broken = any(one.soundness == "broken" for one in states.values())
    if not rows and not broken:
        raise UsageError("The runs have no metric in common.", "say what they call the same: --map loss=NAME.")
    here = [row for row in rows if row.at == judged_at]
    sides = (*([] if state is None else [state.side]), *(side_of(group) for group in groups))
    first = sides[0].name
    outcomes = tuple(outcome(side.name, first, here, states, same=_is_same_log(sides[0], side)) for side in sides[1:])
    compared = {row.name for row in here}
    limits = {name: limit for name, limit in (allowed or {}).items() if name in compared or not broken}
    return Comparison(
        verdict=worst(one.verdict for one in outcomes),
        subject="runs",
        at=judged_at,
        sides=sides,
        metrics=rows,
        rankings=tuple(rankings(numbers, here, judged_at)),
        differences=tuple(differences(groups)),
        bands=tuple(bands(groups)),
        limits=kept_to(limits, here),
        skipped=tuple(skipped),
        notes=tuple(_notes(groups, places, state)),
        outcomes=outcomes,
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
    places = {place: step_of for place, step_of in _places(groups, None).items() if place in (LAST, BEST)}
    return Baseline("runs", side_of(groups[0]), tuple(numbers_of(groups[0].runs, places, metrics)[0]))


def _enough(groups: Sequence[Group], state: Baseline | None, group_by: str | None) -> None:
    if len(groups) + (state is not None) < 2:
        together = f" (all runs differ in their {group_by} alone)" if group_by else ""
        raise UsageError(f"There is one side only{together}.", "name two runs at least, or give --baseline FILE.")


def _is_same_log(one: Side, other: Side) -> bool:
    """Whether both sides are one log, byte for byte."""
    known = one.facts.get("sha256")
    return bool(known) and known == other.facts.get("sha256") and len(one.paths) == len(other.paths) == 1


def _states(groups: Sequence[Group], state: Baseline | None) -> dict[str, State]:
    """Whether each side is sound, the first one first."""
    kept = {} if state is None else {state.side.name: kept_state(state.side)}
    return {**kept, **{group.name: state_of(group.runs) for group in groups}}


def _without_whole_shares(numbers: Mapping[str, Sequence[Number]]) -> Mapping[str, Sequence[Number]]:
    """The numbers without the share of finite losses, where all losses of all sides are finite."""
    if any(one.name == FINITE and one.value < 1 for own in numbers.values() for one in own):
        return numbers
    return {side: [one for one in own if one.name != FINITE] for side, own in numbers.items()}


def _places(groups: Sequence[Group], state: Baseline | None) -> Places:
    """Where numbers can be taken."""
    runs = [run for group in groups for run in group.runs]
    found: dict[str, Callable[[JudgedRun], float | None]] = {}
    if state is None and len({run.log.axis for run in runs}) == 1:
        common = min(run.last_step for run in runs)
        if any(run.last_step != common for run in runs):
            found[STEP] = lambda _run: common
    found |= {LAST: lambda _run: None, BEST: lambda _run: None}
    clocks = [run.log.finite("seconds") for run in runs]
    if state is None and all(clock is not None for clock in clocks):
        time = min(float(clock.value.max()) for clock in clocks if clock is not None)
        found[TIME] = lambda run: step_at_time(run.log.series["seconds"].finite(), time)
    return found


def _why_not(at: str) -> str:
    return {
        STEP: "all end at the same step, their steps count different things, or one of them is a baseline",
        TIME: "not every log has a clock (seconds), or one of them is a baseline",
    }.get(at, "nothing is there")


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


def _notes(groups: Sequence[Group], places: Places, state: Baseline | None) -> Iterator[str]:
    runs = [run for group in groups for run in group.runs]
    if state is not None and STATE not in state.side.facts:
        yield f"{state.side.name}: an older version wrote this baseline, which does not say whether its run was sound."
    if STEP in places:
        common = min(run.last_step for run in runs)
        yield f"Equal step: {common:.10g}, the last that all runs reached."
    if any(len(group.runs) == 1 for group in groups):
        yield (
            "A side with one run cannot tell how far seeds alone move it; what they did in energydiag's own benchmark "
            "is allowed for. Several seeds a side and --group-by seed measure it."
        )
    own = {group.name: bonds(group.runs[0]) for group in groups}
    untold: dict[str, list[str]] = {}
    for what, option in (
        (OBJECTIVE, "the objective (--objective)"),
        (HEAD, "the head (--head)"),
        (TAU, "the temperature (--tau)"),
    ):
        silent = ", ".join(name for name, known in own.items() if what not in known)
        untold.setdefault(silent, []).append(option)
    for silent, words in untold.items():
        if silent:
            yield (
                f"Not told by {silent}: {', '.join(words)}; losses are compared as if they were the same "
                "(config.json beside the log tells it, too)."
            )
    for group in groups:
        for run in group.runs:
            yield from (f"{group.name}: {note}" for note in run.log.notes)
