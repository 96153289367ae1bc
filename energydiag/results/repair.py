"""What ``fix-and-retrain`` did, and whether it counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from energydiag.results.changes import Changes
from energydiag.results.diagnosis import CheckpointDiagnosis, Curve, Skipped
from energydiag.results.result import Result

Variant = Literal["without", "alone"]
RepairVerdict = Literal["healed", "improved", "not-improved", "harmed", "diverged"]


@dataclass(frozen=True)
class Applied:
    """A fix that was applied.

    Attributes:
        fix: Its name.
        parameters: What it changed in the plan.
        handles: Codes of the findings that it was applied for.
    """

    fix: str
    parameters: Mapping[str, Any]
    handles: tuple[str, ...]


@dataclass(frozen=True)
class Ablation:
    """What one fix contributes: the repair without it, or with it alone, against the whole.

    Attributes:
        fix: Its name.
        kind: Whether it is left out or stands alone.
        comparison: This variant (first) against the whole repair (second), on the held-out samples.
    """

    fix: str
    kind: Variant
    comparison: Changes


@dataclass(frozen=True, kw_only=True)
class Repair(Result):
    """Before, control and after, on the same held-out samples.

    Attributes:
        verdict: What the proof says. Where something was found that no fix handles, nothing is trained and nothing
            improved; that is accepted unless it is critical.
        accepted: Whether the repair counts.
        reasons: Why, in sentences.
        applied: Fixes, in order.
        skipped: Fixes that were not applied, and why.
        arms: Diagnoses of ``before``, ``control`` (trained as long, without the fixes) and ``after``.
        comparison: Control against after: what accepting rests on, together with the next.
        against_before: Before against after.
        ablation: What each fix contributes, where it was asked for.
        checkpoint: Path of the repaired checkpoint, empty where none was written.
        plan: The training plan of the repair, as plain values.
        curves: Training loss of control and after with their floors.
    """

    verdict: RepairVerdict
    accepted: bool
    reasons: tuple[str, ...]
    applied: tuple[Applied, ...]
    skipped: tuple[Skipped, ...]
    arms: Mapping[str, CheckpointDiagnosis]
    comparison: Changes | None
    against_before: Changes | None
    ablation: tuple[Ablation, ...] = ()
    checkpoint: str = ""
    plan: Mapping[str, Any] = field(default_factory=dict)
    curves: tuple[Curve, ...] = ()

    kind = "repair"

    def check(self) -> bool:
        """Whether there is something that was repaired."""
        return "before" in self.arms
