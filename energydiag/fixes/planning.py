"""From findings to a training plan: which fixes, in which order, and why the others not."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any

from energydiag.errors import UsageError
from energydiag.fixes.fix import Patient, Refusal, fixes
from energydiag.metrics import AUROC, TURNED_MASK_GAIN
from energydiag.plan import TrainingPlan
from energydiag.results import Applied, Skipped

AUTO = (
    "negate-sign",
    "turn-mask",
    "remove-action-norm",
    "lower-temperature",
    "linear-head",
    "reinitialise-last-layer",
    "fresh-weights",
    "mixed-negatives",
    "false-negative-filter",
    "adversarial-negatives",
    "alignment-loss",
    "distance-ranking",
    "energy-anchor",
    "cosine-schedule",
    "clip-gradients",
    "no-dropout",
)
"""What the automatic plan chooses from, in the order in which it is applied.

Of these, those are applied that handle a finding, and what they need.
"""

AUTO_FOR: Mapping[str, frozenset[str]] = {
    "lower-temperature": frozenset({"ED204"}),
    "false-negative-filter": frozenset({"ED603", "ED719"}),
}
"""Of what these fixes handle, what the automatic plan takes them for; to the rest it has a better answer."""

_FIELD = ("mixed-negatives", "adversarial-negatives", "alignment-loss", "distance-ranking")

WHOLE_RECIPE = frozenset({"ED201", "ED204", "ED207", "ED309", "ED310", "ED501", "ED502", "ED719"})
"""Findings of an energy that has learned little or the wrong thing: ranking alone, taught again, would lead astray."""

NEEDS: Mapping[str, tuple[str, ...]] = {
    # Where turning round is not all there is to do, the model has learned little, or something else.
    "negate-sign": (*_FIELD, "cosine-schedule"),
    "turn-mask": (*_FIELD, "cosine-schedule"),
    "lower-temperature": (*_FIELD, "cosine-schedule"),
    # With far negatives alone, an unbounded energy ranks well and leads actions astray when it is followed.
    "linear-head": (*_FIELD, "cosine-schedule"),
    # A model that sees more of the action than before has to learn what to make of it, near the expert's above all.
    "remove-action-norm": (*_FIELD, "cosine-schedule"),
    "reinitialise-last-layer": ("linear-head", "cosine-schedule"),
    # Features that a saturated head has shaped outlive it.
    "fresh-weights": (*_FIELD, "cosine-schedule"),
    "mixed-negatives": ("cosine-schedule",),
    # Each pushes energies apart without end, which a bounded head answers with saturation; unbounded ones drift.
    "adversarial-negatives": ("linear-head", "mixed-negatives", "energy-anchor", "cosine-schedule", "no-dropout"),
    "distance-ranking": ("linear-head", "mixed-negatives", "energy-anchor", "cosine-schedule"),
    # Slopes are taught; dropout gives the same action another slope at every step.
    "alignment-loss": ("mixed-negatives", "cosine-schedule", "no-dropout"),
    "energy-anchor": ("cosine-schedule",),
    "clip-gradients": ("cosine-schedule",),
}
"""What the automatic plan applies for the sake of another fix, although it may handle no finding itself."""

CHOICES = (
    ("design", "rescaled-head", "softplus-head", "linear-head"),
    ("reinitialise-last-layer", "fresh-weights"),
    ("adaptive-temperature", "clamped-temperature"),
    ("decoupled-loss", "debiased-loss"),
    ("progressive-schedule", "cosine-schedule"),
)
"""Fixes of which a plan holds one; the last one forced wins.

A bundle loses no more than what the later fix overwrites.
"""

BUNDLES = frozenset({"design"})

FEWEST_STEPS_FROM_FRESH = 500
"""Below, the automatic plan keeps the old weights: after 200 steps they led to better ranking, after 1000 to worse
(measured on one sample; where it turns between them is a guess)."""

_FRESH = "fresh-weights"
_NONFINITE = "ED104"
_EXACT_OPERATIONS = {"negate": "ED202", "turn-mask": "ED505"}
"""Operations on the model after which nothing has to be learned again, and what they heal."""

_EXACT_FIXES = {"ED202": "negate-sign", "ED505": "turn-mask"}
"""The fixes that do them."""

SURE_GAIN = 0.005
"""What AUROC gains at least, by its whole interval, where a mask turned round needs no training: the smallest change
that matters. A head that has learned to read padding gains next to nothing, and loses near the policy's action."""

SURE_SIGN = 0.9
"""AUROC that −E has at least where a sign turned round needs no training (a guess). Energies that are inverted in part
have learned something else than the opposite: measured with wrong positives, −E had .70."""

_CONTEXT_CUT_OFF, _ACTION_IGNORED = "ED509", "ED502"

_IDLE = "other fixes, or the plan without any, leave it nothing to change"


@dataclass(frozen=True)
class Planned:
    """What is to be done.

    Attributes:
        plan: What the training loop obeys; zero steps where nothing has to be learned again.
        applied: Fixes that it is made of, in order; empty where there is nothing to do. Their parameters are what they
            contribute, by the plan's fields: the new value, or the entries that they add to a list. What a later fix
            overwrites is not among them.
        skipped: Fixes that were considered and are not part of it, and why; under ``"auto"``, why there is nothing to
            do for a finding, or at all.
    """

    plan: TrainingPlan
    applied: tuple[Applied, ...]
    skipped: tuple[Skipped, ...]


def plan_from(
    patient: Patient, base: TrainingPlan, forced: Sequence[str] = (), *, always_train: bool = False
) -> Planned:
    """The plan that repairs a patient.

    Args:
        patient: Its findings decide, unless fixes are forced.
        base: What would be trained without any fix: the control's plan.
        forced: Names of fixes, in order; empty: planned from the findings.
        always_train: Train also where an operation on the model seems to be all that is needed.

    Raises:
        UsageError: A forced name is no fix's.
    """
    _check(forced)
    patient = replace(patient, learning_rate=base.learning_rate)
    exact = frozenset[str]() if always_train else frozenset(c for c in _EXACT_FIXES if _heals_at_once(c, patient))
    if forced:
        return _applied(tuple(dict.fromkeys(forced)), patient, base, exact)
    names, why_not = _automatic(patient, base, exact)
    planned = _applied(names, patient, base, exact)
    codes = {finding.code for finding in patient.findings}
    # what was considered for another fix's sake alone, and is done by that one already, is not worth telling
    skipped = [s for s in planned.skipped if s.reason != _IDLE or codes.intersection(fixes()[s.name].handles)]
    return replace(planned, skipped=(*skipped, *why_not, *_unhandled(patient, planned, why_not)))


def _check(forced: Iterable[str]) -> None:
    known = fixes()
    for name in forced:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise UsageError(
                f"There is no fix `{name}`. There are: {', '.join(sorted(known))}.",
                f"--fix {near[0]}" if near else "name one of them after --fix, or see `--list-fixes`",
            )


def _automatic(
    patient: Patient, base: TrainingPlan, exact: Collection[str]
) -> tuple[tuple[str, ...], tuple[Skipped, ...]]:
    """Names to apply, in order, and why there is nothing to do where there is not."""
    codes = [finding.code for finding in patient.findings]
    if not codes:
        return (), (Skipped("auto", "there are no findings: nothing needs fixing"),)
    if _NONFINITE in codes:
        reason = f"{_NONFINITE}: weights that answer with NaN cannot be repaired; go back to the last finite checkpoint"
        return (), (Skipped("auto", reason),)
    roots = {f.code for f in patient.findings if f.explained_by is None and f.severity == "critical"}
    cut_off = _cut_off(roots, patient)
    if cut_off:
        return (), (Skipped("auto", cut_off),)
    treated = roots & {code for name in AUTO for code in _answered(name)}
    if treated and treated <= set(exact):
        return tuple(name for name in AUTO if name in {_EXACT_FIXES[code] for code in treated}), ()
    asked = {name for name in AUTO if _answered(name) & set(codes)} | {n for n in _FIELD if WHOLE_RECIPE & set(codes)}
    wanted = [name for name in AUTO if name in asked]
    if base.steps < FEWEST_STEPS_FROM_FRESH and _FRESH in wanted:
        wanted.remove(_FRESH)
        reason = f"{base.steps} steps are too few to begin anew; it is planned from {FEWEST_STEPS_FROM_FRESH} steps on"
        return _with_needs(wanted, patient, base), (Skipped(_FRESH, reason),)
    return _with_needs(wanted, patient, base), ()


def _answered(name: str) -> frozenset[str]:
    """The findings that the automatic plan takes a fix for."""
    return AUTO_FOR.get(name, frozenset(fixes()[name].handles))


def _cut_off(roots: Collection[str], patient: Patient) -> str:
    """Why no training can mend the model, or an empty text."""
    if _CONTEXT_CUT_OFF in roots:
        code, what = _CONTEXT_CUT_OFF, "the context"
    elif _ACTION_IGNORED in roots and patient.action_cut_off:
        code, what = _ACTION_IGNORED, "the action"
    else:
        return ""
    return f"{code}: {what} does not reach the energy; no retraining can mend a disconnected input, so mend the model"


def _with_needs(wanted: Sequence[str], patient: Patient, base: TrainingPlan) -> tuple[str, ...]:
    """The wanted fixes and all that those which can be applied need, in the automatic order."""
    known = fixes()
    chosen, left = set(wanted), list(wanted)
    while left:
        name = left.pop()
        if not isinstance(known[name].edit(base, patient), Refusal):
            new = set(NEEDS.get(name, ())) - chosen
            chosen |= new
            left += sorted(new)
    return tuple(name for name in AUTO if name in chosen)


def _unhandled(patient: Patient, planned: Planned, why_not: Sequence[Skipped]) -> tuple[Skipped, ...]:
    """Findings for which nothing is done and of which nothing was said yet."""
    if any(skipped.name == "auto" for skipped in why_not):
        return ()
    done = {code for applied in planned.applied for code in applied.handles}
    return tuple(
        Skipped("auto", f"nothing in the plan handles {f.code} {f.name}; see `energydiag rules {f.code}`")
        for f in patient.findings
        if f.code not in done and f.explained_by not in done
    )


def _applied(names: Sequence[str], patient: Patient, base: TrainingPlan, exact: Collection[str]) -> Planned:
    """Applies the fixes in order; of fixes that exclude each other, the last one that can be applied.

    Args:
        names: Of the fixes.
        patient: What they are applied to.
        base: What they change.
        exact: Codes of the findings that an operation on the model mends without training.
    """
    stages, skipped = _stages(names, patient, base)
    beaten = {name: rival for name in stages if (rival := _later_rival(name, list(stages)))}
    if beaten:
        stages, again = _stages([name for name in names if name not in beaten], patient, base)
        skipped = (
            *again,
            *(Skipped(name, f"{rival}, which comes later, excludes it") for name, rival in beaten.items()),
        )
    plan = list(stages.values())[-1][1] if stages else base
    codes = [finding.code for finding in patient.findings]
    applied, idle = [], []
    for name, (before, after) in stages.items():
        parameters = _contribution(before, after, plan)
        if parameters:
            handled = fixes()[name].handles
            applied.append(Applied(name, parameters, tuple(c for c in codes if c in handled)))
        else:
            idle.append(Skipped(name, _IDLE))
    if applied and _is_exact(plan, base, exact):
        plan = replace(plan, steps=0)
        applied[-1] = replace(applied[-1], parameters={**applied[-1].parameters, "steps": 0})
    return Planned(plan, tuple(applied), (*skipped, *idle))


def _stages(
    names: Sequence[str], patient: Patient, base: TrainingPlan
) -> tuple[dict[str, tuple[TrainingPlan, TrainingPlan]], tuple[Skipped, ...]]:
    """The plan before and after each fix, by its name, and the fixes that refused."""
    stages, skipped, plan = {}, [], base
    for name in names:
        edited = fixes()[name].edit(plan, patient)
        if isinstance(edited, Refusal):
            skipped.append(Skipped(name, edited.reason))
            continue
        stages[name] = (plan, edited)
        plan = edited
    return stages, tuple(skipped)


def _later_rival(name: str, names: Sequence[str]) -> str | None:
    """The last of the names that excludes this one, if it comes later."""
    if name in BUNDLES:
        return None
    later = names[names.index(name) + 1 :]
    rivals = [other for choice in CHOICES if name in choice for other in later if other in choice]
    return rivals[-1] if rivals else None


def _contribution(before: TrainingPlan, after: TrainingPlan, final: TrainingPlan) -> dict[str, Any]:
    """What changed between two plans and is still so in the final one, by field, as JSON has it."""
    changed: dict[str, Any] = {}
    for field in fields(TrainingPlan):
        old, new, last = (getattr(plan, field.name) for plan in (before, after, final))
        if new == old:
            continue
        if isinstance(new, tuple):
            added = [entry for entry in new if entry not in old and entry in last]
            if added:
                changed[field.name] = added
        elif new == last:
            changed[field.name] = asdict(new) if is_dataclass(new) and not isinstance(new, type) else new
    return changed


def _heals_at_once(code: str, patient: Patient) -> bool:
    """Whether an exact operation mends this finding of this patient, so that nothing has to be learned again."""
    if code == "ED505":
        gain = patient.measurements.get(TURNED_MASK_GAIN)
        return gain is not None and gain.ci95 is not None and gain.ci95[0] > SURE_GAIN
    auroc = patient.measurements.get(AUROC)
    return auroc is not None and 1 - auroc.value >= SURE_SIGN


def _is_exact(plan: TrainingPlan, base: TrainingPlan, exact: Collection[str]) -> bool:
    """Whether all that was changed is done to the model and needs no learning."""
    operations = set(plan.surgery) - set(base.surgery)
    only_surgery = replace(plan, surgery=base.surgery) == base
    return only_surgery and all(_EXACT_OPERATIONS.get(operation) in exact for operation in operations)
