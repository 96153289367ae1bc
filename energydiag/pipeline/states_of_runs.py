"""Whether a side of a comparison is sound, and what that does to the verdict: a broken run never wins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from energydiag.pipeline.judging_run import JudgedRun
from energydiag.results import MetricChange, Outcome, Side
from energydiag.results.changes import NO_DIRECTION, Change, of_side
from energydiag.runs.questions import loss_ends_early

STATE = "state"
"""Name of the fact of a side that holds its state."""

Soundness = Literal["sound", "undetermined", "broken"]
_WORST_FIRST: tuple[Soundness, ...] = ("broken", "undetermined", "sound")
_WORDS = {"broken": "broken", "undetermined": "not known to be sound"}
_REASONS = 2
"""Of rows that cannot be compared, in an outcome."""


@dataclass(frozen=True)
class State:
    """Whether a side is sound.

    Attributes:
        soundness: ``"broken"``: it died, diverged, collapsed, stayed flat, or its loss ends early.
        reason: Why it is not known to be sound; empty where it is.
    """

    soundness: Soundness
    reason: str = ""

    @property
    def told(self) -> str:
        """In one text, as a baseline keeps it."""
        return f"{self.soundness}: {self.reason}" if self.reason else self.soundness


def state_of(runs: Sequence[JudgedRun]) -> State:
    """That of the worst of a side's runs."""
    states = [_state(run) for run in runs]
    first = min(states, key=lambda one: _WORST_FIRST.index(one.soundness))
    alike = sum(one.soundness == first.soundness for one in states)
    if len(states) == 1 or not first.reason:
        return first
    return replace(first, reason=f"{alike} of {len(states)} runs; the first: {first.reason}")


def _state(run: JudgedRun) -> State:
    critical = next((finding for finding in run.findings if finding.severity == "critical"), None)
    if critical is not None:
        return State("broken", f"{critical.code} {critical.name}: {critical.summary}")
    early = loss_ends_early({m.name: m for m in run.measurements})
    if early is not None:
        return State("broken", f"{early}.")
    question = next((one for one in run.open if one.could_be == "critical"), None)
    if question is not None:
        return State("undetermined", f"{question.question} {question.missing}.")
    return State("sound")


def kept_state(side: Side) -> State:
    """The state of a side that is a baseline; sound where a version that kept none wrote it."""
    told, _, reason = side.facts.get(STATE, "sound").partition(": ")
    return next((State(one, reason) for one in _WORST_FIRST if one == told), State("sound"))


def without_wins(rows: Iterable[MetricChange], states: Mapping[str, State]) -> tuple[MetricChange, ...]:
    """The rows, where those in which a broken side would be the better one say nothing."""
    return tuple(_without_win(row, states) for row in rows)


def _without_win(row: MetricChange, states: Mapping[str, State]) -> MetricChange:
    first, other = row.values
    winner = {"improved": other, "regressed": first}.get(row.verdict)
    if winner is None or states[winner].soundness != "broken":
        return row
    return replace(row, verdict="incomparable", reason=f"{winner} is broken, and a broken run wins nothing")


def outcome(
    side: str, first: str, rows: Sequence[MetricChange], states: Mapping[str, State], *, same: bool = False
) -> Outcome:
    """What became of a side, by its rows and by the states of both sides.

    A broken side loses against a sound one, and no side wins that is not known to be sound: an undetermined one can
    only be worse.

    Args:
        side: Which one.
        first: The side that it is compared with.
        rows: Where the verdict is taken.
        states: Of all sides.
        same: Whether both sides are the same log.
    """
    by_rows = "unchanged" if same else of_side(row for row in rows if row.side == side)
    ours, theirs = states[first], states[side]
    soundness = {ours.soundness, theirs.soundness}
    if soundness == {"broken", "sound"}:
        verdict: Change = "regressed" if theirs.soundness == "broken" else "improved"
        broken = side if verdict == "regressed" else first
        return Outcome(side, verdict, f"{broken} is broken: {states[broken].reason}")
    if "broken" in soundness:
        told = " ".join(f"{name} is {_WORDS[states[name].soundness]}: {states[name].reason}" for name in (first, side))
        return Outcome(side, "inconclusive", told)
    winner = {"improved": theirs, "regressed": ours}.get(by_rows)
    doubtful = [name for name in (first, side) if states[name].soundness == "undetermined"]
    if same and not doubtful:
        return Outcome(side, "unchanged", "Both are the same log, byte for byte")
    if by_rows == "incomparable":
        reasons = dict.fromkeys(row.reason for row in rows if row.side == side and row.reason != NO_DIRECTION)
        return Outcome(side, by_rows, "; ".join(list(reasons)[:_REASONS]))
    if by_rows == "mixed" or not doubtful or (winner and winner.soundness == "sound"):
        return Outcome(side, by_rows)
    told = " ".join(f"Whether {name} is sound is not known: {states[name].reason}" for name in doubtful)
    return Outcome(side, "inconclusive", told)
