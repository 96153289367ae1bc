"""Which runs are a side, what it is called, and in which settings sides differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from energydiag.errors import UsageError
from energydiag.metrics import HEAD, NEGATIVES, TAU
from energydiag.pipeline.naming import common_name, distinct_names
from energydiag.results import Difference, Side
from energydiag.runs import Limits, RunLog, Told, limits_of, read_run

_MOST_DIFFERENCES = 200
"""Settings in which runs differ, at most (a guess: beyond that they have nothing in common)."""


@dataclass(frozen=True)
class Run:
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
class Group:
    """One side: a run, or several that differ by their seeds."""

    name: str
    runs: tuple[Run, ...]


def groups_of(
    paths: Sequence[str | Path], names: Mapping[str, str] | None, group_by: str | None, told: Told | None
) -> tuple[Group, ...]:
    """The logs, each a side of its own, or those together that differ in one setting alone.

    Raises:
        EnergydiagError: As `compare_runs`.
    """
    logs = [read_run(path, names) for path in paths]
    runs = [Run(log, limits_of(log, told or Told())) for log in logs]
    called = distinct_names([str(path) for path in paths])
    if group_by is None:
        return tuple(Group(name, (run,)) for name, run in zip(called, runs, strict=True))
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
        Group(common_name([called[n] for n in members]), tuple(runs[n] for n in members)) for members in found.values()
    )


def _is_setting(key: str, wanted: str) -> bool:
    """Whether a setting is this one, also inside of others: ``training.seed`` is a ``seed``."""
    return key == wanted or key.endswith(f".{wanted}")


def side_of(group: Group) -> Side:
    """What is known of a side; where it is several runs, of the first of them."""
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


def differences(groups: Sequence[Group]) -> Iterator[Difference]:
    """The settings that are not the same on all sides."""
    configs = {group.name: group.runs[0].log.config for group in groups}
    keys = dict.fromkeys(key for config in configs.values() for key in config)
    told = 0
    for key in keys:
        values = {name: config.get(key, "") for name, config in configs.items()}
        if len(set(values.values())) > 1 and told < _MOST_DIFFERENCES:
            told += 1
            yield Difference(key, values)
