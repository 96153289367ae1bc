"""What the fault benchmark's calibration part says of a rule's measurements: the figures beside its thresholds.

They come from ``calibration.json``, which ``python -m benchmarks.faults.run calibrate`` writes.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from energydiag.rules.wording import number


@dataclass(frozen=True)
class Range:
    """Where one measurement lies over several runs.

    Attributes:
        least: The smallest value.
        median: The middle one.
        most: The largest.
        runs: How many runs.
    """

    least: float
    median: float
    most: float
    runs: int


@dataclass(frozen=True)
class Calibration:
    """One rule on the calibration part.

    Attributes:
        measurement: The rule's measurements, by name: ``(in healthy runs, in runs with a fault that it should name)``;
            None where there is none such.
        healthy: ``(found, runs)`` for healthy controls.
        faulty: ``(found, runs)`` for runs with a fault for which the rule is a right answer.
    """

    measurement: dict[str, tuple[Range | None, Range | None]]
    healthy: tuple[int, int]
    faulty: tuple[int, int]

    def lines(self) -> list[str]:
        """For a person: what was seen, in a few lines."""
        told = [f"Found in {self.healthy[0]} of {self.healthy[1]} healthy runs"]
        if self.faulty[1]:
            told[0] += f" and {self.faulty[0]} of {self.faulty[1]} runs with a fault that it should name"
        told[0] += "."
        for name, (well, ill) in self.measurement.items():
            sides = [f"{_span(side)} {where}" for side, where in ((well, "healthy"), (ill, "faulty")) if side]
            told.append(f"{name}: {', '.join(sides)}.")
        return told


def _span(seen: Range) -> str:
    return f"{number(seen.least)} to {number(seen.most)} (median {number(seen.median)})"


@functools.cache
def calibrations() -> dict[str, Calibration]:
    """By code of the rule."""
    text = resources.files("energydiag.rules").joinpath("calibration.json").read_text(encoding="utf-8")
    return {code: _read(plain) for code, plain in json.loads(text).items()}


def _read(plain: dict[str, Any]) -> Calibration:
    return Calibration(
        {name: (_range(well), _range(ill)) for name, (well, ill) in plain["measurements"].items()},
        (plain["healthy"][0], plain["healthy"][1]),
        (plain["faulty"][0], plain["faulty"][1]),
    )


def _range(plain: Sequence[float] | None) -> Range | None:
    return None if plain is None else Range(plain[0], plain[1], plain[2], int(plain[3]))
