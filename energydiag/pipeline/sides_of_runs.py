"""Which runs are a side, what it is called, and in which settings sides differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from energydiag.errors import UsageError
from energydiag.metrics import AXIS, EITHER, HEAD, NEGATIVES, OBJECTIVE, SAMPLING, TAU
from energydiag.objectives import Inferred, Setting
from energydiag.pipeline.judging_run import JudgedRun, judged_run
from energydiag.pipeline.naming import common_name, distinct_names
from energydiag.pipeline.states_of_runs import STATE, state_of
from energydiag.results import Difference, Side
from energydiag.runs import RunLog, Told

_MOST_DIFFERENCES = 200
"""Settings in which runs differ, at most (a guess: beyond that they have nothing in common)."""


_SAMPLERS = (
    *("sources", "improved_negatives", "descent", "swap", "sampler", "sampling", "mining", "miner"),
    *("negative_sampling", "negative_sampler", "hard_negatives", "negative_source", "negative_sources"),
)
"""Settings that say which negatives a run had."""


def bonds(run: JudgedRun) -> dict[str, str]:
    """What numbers may be bound to, as far as it is known."""
    limits = run.limits
    known = {
        HEAD: limits.head,
        TAU: limits.tau,
        NEGATIVES: limits.negatives if limits.negatives_told and counts_negatives(limits.objective) else None,
        OBJECTIVE: EITHER.join(limits.objective.fitting) or limits.objective.objective.name or None,
        SAMPLING: _sampling(run.log),
        AXIS: f"the {run.log.axis}",
    }
    return {
        name: f"{value:.4g}" if isinstance(value, float) else str(value)
        for name, value in known.items()
        if value is not None
    }


def counts_negatives(found: Inferred) -> bool:
    """Whether the loss of chance depends on the number of negatives; where the objective is open, it may."""
    chances = found.objective.chances
    is_open = not found.is_known and not found.fitting
    return is_open or chances(Setting(3, 4)) != chances(Setting(7, 8))


def _sampling(log: RunLog) -> str | None:
    """The settings that say which negatives the run had; None where it tells none."""
    told = {key: value for key, value in log.config.items() if key.rpartition(".")[2] in _SAMPLERS}
    return ", ".join(f"{key}={value}" for key, value in sorted(told.items())) or None


@dataclass(frozen=True)
class Group:
    """One side: a run, or several that differ by their seeds."""

    name: str
    runs: tuple[JudgedRun, ...]


def groups_of(
    paths: Sequence[str | Path], names: Mapping[str, str] | None, group_by: str | None, told: Told | None
) -> tuple[Group, ...]:
    """The logs, each a side of its own, or those together that differ in one setting alone.

    Raises:
        EnergydiagError: As `compare_runs`.
    """
    runs = [judged_run(path, names, told) for path in paths]
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
        **bonds(first),
        STATE: state_of(group.runs).told,
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
