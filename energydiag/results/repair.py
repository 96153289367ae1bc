"""What ``fix-and-retrain`` did, and whether it counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast

from energydiag.results.changes import Changes
from energydiag.results.diagnosis import SCHEMA_VERSION, Curve, Diagnosis, Skipped, without_draws

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


@dataclass(frozen=True)
class Repair:
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
        provenance: Hashes, seeds, command line, versions.
        created: ISO 8601, UTC.
        energydiag_version: Version that wrote it.
    """

    verdict: RepairVerdict
    accepted: bool
    reasons: tuple[str, ...]
    applied: tuple[Applied, ...]
    skipped: tuple[Skipped, ...]
    arms: Mapping[str, Diagnosis]
    comparison: Changes | None
    against_before: Changes | None
    ablation: tuple[Ablation, ...] = ()
    checkpoint: str = ""
    plan: Mapping[str, Any] = field(default_factory=dict)
    curves: tuple[Curve, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""
    energydiag_version: str = ""

    kind = "repair"

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, as JSON has them."""
        plain = cast("dict[str, Any]", json.loads(json.dumps(without_draws(asdict(self)))))
        plain["arms"] = {name: arm.to_dict() for name, arm in self.arms.items()}
        return {"schema_version": SCHEMA_VERSION, "kind": self.kind, **plain}

    def to_json(self) -> str:
        """The result as JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Repair:
        """The repair that `to_dict` wrote.

        Raises:
            KeyError, TypeError: It is not one.
        """

        def comparison(value: Mapping[str, Any] | None) -> Changes | None:
            return None if value is None else Changes.from_dict(value)

        if "before" not in plain["arms"]:
            raise TypeError("a repair of nothing")
        return cls(
            verdict=plain["verdict"],
            accepted=plain["accepted"],
            reasons=tuple(plain["reasons"]),
            applied=tuple(Applied(a["fix"], a["parameters"], tuple(a["handles"])) for a in plain["applied"]),
            skipped=tuple(Skipped(**s) for s in plain["skipped"]),
            arms={name: Diagnosis.from_dict(arm) for name, arm in plain["arms"].items()},
            comparison=comparison(plain["comparison"]),
            against_before=comparison(plain["against_before"]),
            ablation=tuple(
                Ablation(a["fix"], a["kind"], Changes.from_dict(a["comparison"])) for a in plain["ablation"]
            ),
            checkpoint=plain["checkpoint"],
            plan=plain["plan"],
            curves=tuple(Curve(c["name"], tuple(c["x"]), tuple(c["y"])) for c in plain["curves"]),
            provenance=plain["provenance"],
            created=plain["created"],
            energydiag_version=plain["energydiag_version"],
        )
