"""Whether a repair counts."""

from __future__ import annotations

from energydiag.results import Comparison, Diagnosis
from energydiag.results.repair import RepairVerdict


def judge_repair(
    against_before: Comparison, against_control: Comparison, after: Diagnosis, *, diverged: bool
) -> tuple[RepairVerdict, tuple[str, ...]]:
    """Whether a repair counts: held-out, scale-free numbers better than before and than the control, none worse.

    Args:
        against_before: Of the `PROOF` metrics.
        against_control: Of the same.
        after: The repaired model's diagnosis.
        diverged: Whether training stopped at a loss that was not finite.
    """
    if diverged:
        return "diverged", ("Training met a loss that is not finite; the last good weights were kept.",)

    def named(comparison: Comparison, verdict: str) -> list[str]:
        return [m.name for m in comparison.metrics if m.verdict == verdict]

    harmed = named(against_before, "regressed")
    if harmed:
        return "harmed", (f"Worse than before: {', '.join(harmed)}.",)
    better, than_control = named(against_before, "improved"), named(against_control, "improved")
    worse = named(against_control, "regressed")
    many = after.measurement("field.correction_gain.k8")
    if many is not None and many.ci95 is not None and many.ci95[1] < 0:
        reason = f"Following the energy for eight steps makes the action {-many.value:.1%} worse: it leads astray."
        return "not-improved", (reason,)
    if worse:
        return "not-improved", (f"Training as long without the fixes is better in {', '.join(worse)}.",)
    if not better or not than_control:
        side = "than before" if not better else "than the control"
        return "not-improved", (f"No scale-free number is better {side} with an interval that excludes zero.",)
    reasons = (f"Better than before: {', '.join(better)}.", f"Better than the control: {', '.join(than_control)}.")
    critical = [f.code for f in after.findings if f.severity == "critical"]
    if critical:
        return "improved", (*reasons, f"Still critical: {', '.join(critical)}.")
    return "healed", reasons
