"""What a probe says of itself, and how all of them are run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch

from energydiag.discovery import discover
from energydiag.errors import EnergydiagError, first_line
from energydiag.probes.evidence import Evidence
from energydiag.results import Curve, Distribution, Measurement, Skipped
from energydiag.statistics import Estimate


@dataclass(frozen=True)
class Answer:
    """What one probe, or all of them together, found."""

    measurements: tuple[Measurement, ...] = ()
    distributions: tuple[Distribution, ...] = ()
    curves: tuple[Curve, ...] = ()
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True)
class Probe:
    """One family of measurements.

    Attributes:
        name: What it is called in progress and in skipped results.
        measure: From the evidence to numbers.
    """

    name: str
    measure: Callable[[Evidence], Answer]


def measured(name: str, estimate: Estimate) -> Measurement:
    """A measurement from an estimate."""
    few = estimate.ci95 is None
    return Measurement.of(name, estimate.value, estimate.n, estimate.ci95, unsure=few, draws=estimate.draws)


def run_probes(evidence: Evidence, progress: Callable[[str], None]) -> Answer:
    """Runs every probe; one that fails becomes a skipped result with its reason, and the others go on.

    Args:
        evidence: What they measure.
        progress: Told the name of each probe before it runs.
    """
    answers = []
    for probe in discover("energydiag.probes", "PROBE", Probe).values():
        progress(probe.name)
        try:
            answers.append(with_source(probe.measure(evidence), probe.name))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a stranger's model may raise anything, and the other probes can still tell
            reason = error.message if isinstance(error, EnergydiagError) else first_line(error)
            answers.append(Answer(skipped=(Skipped(probe.name, reason, failed=True),)))
    return joined(answers)


def with_source(answer: Answer, probe: str) -> Answer:
    """Names the probe in every measurement; a value that is not finite is told as skipped, JSON has no such number."""
    finite = tuple(replace(m, source=probe) for m in answer.measurements if math.isfinite(m.value))
    broken = tuple(
        Skipped(m.name, f"the value is not finite ({m.value})", failed=True)
        for m in answer.measurements
        if not math.isfinite(m.value)
    )
    return replace(answer, measurements=finite, skipped=answer.skipped + broken)


def joined(answers: Iterable[Answer]) -> Answer:
    """All of them as one, in their order."""
    parts = list(answers)
    return Answer(
        tuple(m for a in parts for m in a.measurements),
        tuple(d for a in parts for d in a.distributions),
        tuple(c for a in parts for c in a.curves),
        tuple(s for a in parts for s in a.skipped),
    )
