"""What was understood of the files that a result is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class CheckpointFacts:
    """What was understood of a checkpoint; empty where it is not known.

    Attributes:
        path: As it was given.
        format: Of the file.
        sha256: Of the file.
        architecture: Name of the built-in one, or the factory.
        parameters: How many numbers the module has.
        energy: How the head makes the energy, in words.
        head: Name or formula of the head.
        pool: Where the head averages the action steps.
        nhead: Attention heads.
        mask: What True means in the mask that reaches the model.
        tau: Temperature, where the checkpoint tells it.
        identity: Whether it is proven to be the owner's model: ``same``, ``shared``, ``undetermined``, ``assumed``.
        identity_told: The same in words.
        energies_of: The checkpoint that the dump's energies belong to, where it is another one.
        called: How the module is asked, where that is not as all others are.
        container: The set of weights in the file that was taken.
        prefix: What stood before its keys.
        wrappers: Names of wrappers around modules that were taken out of its keys.
        never_read: Keys that the architecture has and never reads.
        ignored: Keys that were passed over as asked.
        also_there: Other sets of weights in the file.
        settings: What else the checkpoint says of itself.
    """

    path: str = ""
    format: str = ""
    sha256: str = ""
    architecture: str = ""
    parameters: int = 0
    energy: str = ""
    head: str = ""
    pool: str = ""
    nhead: int | None = None
    mask: str = ""
    tau: float | None = None
    identity: str = ""
    identity_told: str = ""
    energies_of: str = ""
    called: str = ""
    container: str = ""
    prefix: str = ""
    wrappers: str = ""
    never_read: str = ""
    ignored: str = ""
    also_there: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, told: Mapping[str, str]) -> CheckpointFacts:
        """From texts by name; those of no field become settings, as does what should be a number and is none."""
        names = {one.name for one in fields(cls)} - {"settings"}
        known: dict[str, Any] = {name: text for name, text in told.items() if name in names}
        settings = {name: text for name, text in told.items() if name not in names}
        for name, number in (("nhead", int), ("parameters", int), ("tau", float)):
            if name in known:
                try:
                    known[name] = number(known[name])
                except ValueError:
                    settings[name] = known.pop(name)
        return cls(**known, settings=settings)

    def texts(self) -> dict[str, str]:
        """All that is known, by name, as text."""
        own = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "settings"}
        return {**{name: str(value) for name, value in own.items() if value not in ("", None, 0)}, **self.settings}


@dataclass(frozen=True, kw_only=True)
class BatchFacts:
    """What was understood of a batch dump.

    Attributes:
        path: As it was given; empty for a batch in memory.
        format: Of the file.
        sha256: Of the file.
        samples: How many it has.
        samples_used: Of how many the measurements are.
        episodes: That these are of; None where the dump names none.
        hidden: Shape of the contexts.
        actions: Shape of the actions.
    """

    path: str = ""
    format: str = ""
    sha256: str = ""
    samples: int = 0
    samples_used: int = 0
    episodes: int | None = None
    hidden: tuple[int, ...] = ()
    actions: tuple[int, ...] = ()

    @property
    def freedom(self) -> float:
        """Degrees of freedom of an average: the episodes, or the samples where none are named, less one."""
        return max(1.0, float(self.samples_used if self.episodes is None else self.episodes) - 1)

    def texts(self) -> dict[str, str]:
        """All that is known, by name, as text."""
        told = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: str(list(value) if isinstance(value, tuple) else value) for name, value in told.items() if value}


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What was understood of a training log.

    Attributes:
        path: As it was found.
        format: Of the file.
        sha256: Of the file.
        rows: How many it has.
        first_step: First step that was logged.
        last_step: Last one.
        axis: What the steps count: steps, epochs or rows.
        objective: What it was trained with.
        inferred: How that is known.
        series: Our names of what was logged.
        limits: What is known of negatives, head and temperature, in words.
    """

    path: str
    format: str = ""
    sha256: str = ""
    rows: int = 0
    first_step: float = 0.0
    last_step: float = 0.0
    axis: str = "step"
    objective: str = ""
    inferred: str = ""
    series: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()

    @property
    def steps(self) -> str:
        """From where to where it goes, in words."""
        return f"{self.first_step:.10g} to {self.last_step:.10g}"

    def texts(self) -> dict[str, str]:
        """All that is known, by name, as text."""
        return {
            **{"run": self.path, "format": self.format, "sha256": self.sha256, "rows": str(self.rows)},
            **{"steps": self.steps, "series": ", ".join(self.series), "limits": ", ".join(self.limits)},
        }
