"""Whether a repair counts."""

from __future__ import annotations

from collections.abc import Sequence

from energydiag.batch import Batch
from energydiag.metrics import GAIN_8, part, proof
from energydiag.results import Changes, CheckpointDiagnosis
from energydiag.results.repair import RepairVerdict

TIES = 0.5
"""AUROC where every pair ties."""


def proof_names(heldout: Batch) -> tuple[str, ...]:
    """The scale-free numbers that a repair is judged on, on these samples."""
    return proof(heldout.policy_actions is not None)


def lost(before: CheckpointDiagnosis, after: CheckpointDiagnosis, names: Sequence[str]) -> tuple[str, ...]:
    """Numbers of the proof that could be measured before and cannot be any more.

    The other way round is no harm: a dead energy leads nowhere, and so has no gain to be compared with.
    """
    return tuple(n for n in names if before.measurement(n) is not None and after.measurement(n) is None)


def indifferent(before: CheckpointDiagnosis, names: Sequence[str]) -> tuple[str, ...]:
    """AUROCs of the proof that were ½ since all energies tied: an energy without any preference has none to lose."""
    found = {name: before.measurement(name) for name in names if part(name, "auroc")}
    return tuple(name for name, m in found.items() if m is not None and m.value == TIES and m.ci95 == (TIES, TIES))


def judge_repair(
    against_before: Changes,
    against_control: Changes,
    after: CheckpointDiagnosis,
    *,
    diverged: bool,
    lost: Sequence[str] = (),
    indifferent: Sequence[str] = (),
) -> tuple[RepairVerdict, tuple[str, ...]]:
    """Whether a repair counts: held-out, scale-free numbers better than before and than the control, none worse.

    Args:
        against_before: Of the metrics of the proof.
        against_control: Of the same.
        after: The repaired model's diagnosis.
        diverged: Whether training stopped at a loss that was not finite.
        lost: Numbers that were measured before and cannot be measured after.
        indifferent: Numbers in which nothing can have been lost; see the function of that name.
    """
    if diverged:
        return "diverged", ("Training met a loss that is not finite; the last good weights were kept.",)

    def named(comparison: Changes, verdict: str) -> list[str]:
        return [m.name for m in comparison.metrics if m.verdict == verdict]

    harmed = [name for name in named(against_before, "regressed") if name not in indifferent]
    if harmed:
        return "harmed", (f"Worse than before: {', '.join(harmed)}.",)
    if lost:
        return "not-improved", (f"After it there is no {', '.join(lost)} to be measured any more.",)
    better, than_control = named(against_before, "improved"), named(against_control, "improved")
    worse = named(against_control, "regressed")
    many = after.measurement(GAIN_8)
    if many is not None and many.ci95 is not None and many.ci95[1] < 0:
        reason = f"Following the energy for eight steps makes the action {-many.value:.1%} worse: it leads astray."
        return "not-improved", (reason,)
    if worse:
        return "not-improved", (f"Training as long without the fixes is better in {', '.join(worse)}.",)
    if not better or not than_control:
        side = "than before" if not better else "than the control"
        return "not-improved", (f"No scale-free number is better {side} beyond chance.",)
    reasons = (f"Better than before: {', '.join(better)}.", f"Better than the control: {', '.join(than_control)}.")
    critical = [f.code for f in after.findings if f.severity == "critical"]
    if critical:
        return "improved", (*reasons, f"Still critical: {', '.join(critical)}.")
    return "healed", reasons
