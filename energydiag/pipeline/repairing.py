"""Diagnose, plan, retrain with and without the fixes, and prove it on samples that took no part."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from energydiag import __version__
from energydiag.atomic import write_text, write_with
from energydiag.batch import Batch
from energydiag.batches import read_batch
from energydiag.comparing import PROOF, compare, over_seeds
from energydiag.errors import InvalidBatch, UsageError
from energydiag.fixes import Patient
from energydiag.fixes.planning import Planned, plan_from
from energydiag.losses import chance_loss, floor_loss
from energydiag.models.energy_function import EnergyFunction
from energydiag.models.surgery import Anatomy, dissect, operate
from energydiag.pipeline.inspecting import ASSUMED_TAU, inspect
from energydiag.pipeline.loading import ModelOptions, read_checkpoint
from energydiag.plan import TrainingPlan
from energydiag.results import Ablation, Applied, Comparison, Curve, Diagnosis, Repair
from energydiag.results.repair import RepairVerdict
from energydiag.training.loop import TrainingOutcome, train

Progress = Callable[[str], None]

VALIDATION_FRACTION = 0.1
"""Share of the training episodes that early stopping looks at (a guess: 10 % of a few hundred episodes)."""

PLANNING_SAMPLES = 512
"""Training samples that the diagnosis for the plan is made on; the held-out ones serve the proof alone."""


@dataclass(frozen=True)
class RepairOptions:
    """How a repair is made.

    Attributes:
        base: What the control trains: the owner's recipe.
        forced: Names of fixes, in order; empty: planned from the findings.
        seeds: Runs of control and repair with different seeds.
        ablate: Whether every fix is also left out, and tried alone.
        resume: Whether an interrupted run in the same folder goes on.
    """

    base: TrainingPlan
    forced: tuple[str, ...] = ()
    seeds: int = 1
    ablate: bool = False
    resume: bool = False


@dataclass(frozen=True)
class _Arm:
    """One way to train, with one seed: the result and what was measured of it on the held-out samples."""

    energy: EnergyFunction
    outcome: TrainingOutcome | None
    diagnosis: Diagnosis


def split_by_episode(batch: Batch, fraction: float, seed: int) -> tuple[Batch, Batch]:
    """Larger and smaller part of a batch, no episode on both sides.

    Args:
        batch: Samples; without episodes, each sample counts as one.
        fraction: Share of the episodes in the smaller part, at least one.
        seed: Of the choice.

    Raises:
        InvalidBatch: There are fewer than two episodes.
    """
    groups = batch.groups
    names = torch.unique(groups)
    if len(names) < 2:
        raise InvalidBatch(
            "The dump holds one episode only and cannot be split by episode.", "give --train-batch with other episodes."
        )
    order = names[torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))]
    small = torch.isin(groups, order[: max(1, round(fraction * len(names)))])
    return batch.take(torch.nonzero(~small).reshape(-1)), batch.take(torch.nonzero(small).reshape(-1))


def check_apart(train_batch: Batch, heldout: Batch) -> None:
    """Raises where an episode is in both batches, or the same sample where no episodes are told.

    Raises:
        InvalidBatch: The proof would be measured on what was trained on.
    """
    if train_batch.episode is not None and heldout.episode is not None:
        shared = sorted(set(train_batch.episode.tolist()) & set(heldout.episode.tolist()))
        if shared:
            raise InvalidBatch(
                f"{len(shared)} episodes are in the training batch and in the held-out batch (the first: {shared[0]}).",
                "split by episode, or give one --batch and let it be split.",
            )
        return
    seen = {row.numpy().tobytes() for row in train_batch.actions.contiguous()}
    if any(row.numpy().tobytes() in seen for row in heldout.actions.contiguous()):
        raise InvalidBatch(
            "The same expert actions are in the training batch and in the held-out batch.", "dump other samples."
        )


def plan_repair(
    energy: EnergyFunction, train_batch: Batch, options: RepairOptions
) -> tuple[Planned, Diagnosis, Anatomy]:
    """What would be done, from a diagnosis of the training samples alone.

    Raises:
        UsageError: A forced fix does not exist.
        EnergydiagError: As `inspect`.
    """
    seen = inspect(energy, train_batch, tau=options.base.tau, seed=options.base.seed, limit=PLANNING_SAMPLES)
    few = train_batch.take(_usable(train_batch)[:2])
    mask = None if few.pad_mask is None else few.pad_mask.to(energy.device)
    anatomy = dissect(
        energy, few.hidden.to(energy.device, energy.dtype), few.actions.to(energy.device, energy.dtype), mask
    )
    reading = anatomy.reading
    layers, policy = train_batch.layer_actions, train_batch.policy_actions
    patient = Patient(
        findings=seen.findings,
        measurements={m.name: m for m in seen.measurements},
        head="unknown" if reading.stopped_at else reading.activation.name if reading.activation else "linear",
        built_in=energy.widths is not None,
        action_norm=anatomy.action_norm,
        last_layer=anatomy.last_layer,
        has_layers=layers is not None and layers.shape[1] >= 2,
        has_policy=policy is not None,
        policy_error=None if policy is None else float((policy - train_batch.actions).abs().mean()),
    )
    return plan_from(patient, options.base, options.forced), seen, anatomy


def fix_and_retrain(
    energy: EnergyFunction,
    train_batch: Batch,
    heldout: Batch,
    options: RepairOptions,
    *,
    out: Path | None = None,
    facts: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Repair:
    """Repairs an energy function and proves it against a control that trained as long without the fixes.

    Args:
        energy: The sick one; it stays as it is.
        train_batch: What is trained on; a tenth of its episodes decides when to stop.
        heldout: What the proof is measured on; it takes part in nothing else.
        options: See `RepairOptions`.
        out: Folder for the repaired checkpoint, logs and states, or None to keep nothing.
        facts: For the result's provenance.
        progress: Told what is being done.

    Raises:
        EnergydiagError: The batches overlap, a forced fix does not exist, or the model raised.
    """
    tell = progress or (lambda _step: None)
    check_apart(train_batch, heldout)
    train_batch, heldout = (batch.take(_usable(batch)) for batch in (train_batch, heldout))
    tell("diagnosis of the training samples")
    planned, _, anatomy = plan_repair(energy, train_batch, options)
    tell("held-out samples before the repair")
    before = inspect(energy, heldout, tau=options.base.tau, seed=options.base.seed)
    if not planned.applied:
        return _nothing_done(before, planned, facts)
    training, validation = split_by_episode(train_batch, VALIDATION_FRACTION, options.base.seed)

    def arm(name: str, plan: TrainingPlan, seed: int) -> _Arm:
        return _train_arm(
            energy, anatomy, replace(plan, seed=seed), training, validation, heldout, name, out, options, tell
        )

    control_plan = replace(options.base, steps=planned.plan.steps)
    seeds = range(options.base.seed, options.base.seed + options.seeds)
    controls = [arm("control", control_plan, seed) for seed in seeds]
    afters = [arm("after", planned.plan, seed) for seed in seeds]
    sides = [_together(arms, options.base.seed) for arms in (controls, afters)]
    against_control = compare(sides[0].measurements, sides[1].measurements, ("control", "after"), PROOF)
    against_before = compare(before.measurements, sides[1].measurements, ("before", "after"), PROOF)
    diverged = any(a.outcome is not None and a.outcome.stopped == "non-finite" for a in afters)
    verdict, reasons = judge_repair(against_before, against_control, sides[1], diverged=diverged)
    ablation: tuple[Ablation, ...] = ()
    if options.ablate and planned.plan.steps:
        ablation = _ablate(planned, options, energy, train_batch, arm, afters[0])
    applied = tuple(Applied(a.fix, dict(a.parameters), a.handles) for a in planned.applied)
    checkpoint = ""
    if out is not None:
        best = max(afters, key=_validation_score)
        checkpoint = str(save_repaired(best.energy, applied, out / "repaired.safetensors", facts or {}))
    return Repair(
        verdict=verdict,
        accepted=verdict in ("healed", "improved"),
        reasons=reasons,
        applied=applied,
        skipped=planned.skipped,
        arms={"before": before, "control": sides[0], "after": sides[1]},
        comparison=against_control,
        against_before=against_before,
        ablation=ablation,
        checkpoint=checkpoint,
        plan=asdict(planned.plan),
        curves=_loss_curves(controls[0], afters[0], options.base.batch_size),
        provenance={**before.provenance, **(facts or {}), "seeds": list(seeds)},
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        energydiag_version=__version__,
    )


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


def save_repaired(energy: EnergyFunction, applied: Sequence[Applied], path: Path, facts: Mapping[str, Any]) -> Path:
    """Writes weights with everything that `load_checkpoint` needs to rebuild them.

    Raises:
        UsageError: The folder cannot be written to.
    """
    settings = {key: str(value) for key, value in energy.settings.items()}
    metadata = {
        **settings,
        "architecture": energy.architecture,
        "sign": energy.sign,
        "fixes": json.dumps([a.fix for a in applied]),
        "energydiag_version": __version__,
        **{key: str(value) for key, value in facts.items() if key.endswith("sha256")},
    }
    tensors = {key: value.detach().cpu().contiguous() for key, value in energy.module.state_dict().items()}
    write_with(path, lambda temporary: save_file(tensors, temporary, metadata))
    return path


def _usable(batch: Batch) -> torch.Tensor:
    nonfinite, all_hidden = batch.unusable()
    return torch.nonzero(~(nonfinite | all_hidden)).reshape(-1)


def _train_arm(
    energy: EnergyFunction,
    anatomy: Anatomy,
    plan: TrainingPlan,
    training: Batch,
    validation: Batch,
    heldout: Batch,
    name: str,
    out: Path | None,
    options: RepairOptions,
    tell: Progress,
) -> _Arm:
    patient = replace(energy, module=copy.deepcopy(energy.module), settings={**energy.settings, "tau": str(plan.tau)})
    patient = operate(patient, plan.surgery, anatomy, plan.seed)
    outcome = None
    if plan.steps:
        folder = None if out is None else out / "runs" / f"{name}-{plan.seed}"

        def step(row: Any) -> None:
            tell(
                f"{name}, seed {plan.seed}: step {row.step} of {plan.steps}, loss {row.loss:.3f}, AUROC {row.auroc:.3f}"
            )

        tell(f"{name}, seed {plan.seed}")
        outcome = train(
            patient, training, plan, validation=validation, folder=folder, resume=options.resume, progress=step
        )
        patient = replace(patient, settings={**patient.settings, "tau": f"{outcome.tau:g}"})
    tell(f"{name}, seed {plan.seed}: held-out samples")
    return _Arm(patient, outcome, inspect(patient, heldout, seed=options.base.seed))


def _together(arms: Sequence[_Arm], seed: int) -> Diagnosis:
    """One diagnosis for runs with several seeds: the first run's, with numbers averaged over the runs."""
    measurements = over_seeds([arm.diagnosis.measurements for arm in arms], seed)
    return replace(arms[0].diagnosis, measurements=measurements)


def _validation_score(arm: _Arm) -> float:
    return 0.0 if arm.outcome is None or math.isnan(arm.outcome.best_score) else arm.outcome.best_score


def _ablate(
    planned: Planned,
    options: RepairOptions,
    energy: EnergyFunction,
    train_batch: Batch,
    arm: Callable[[str, TrainingPlan, int], _Arm],
    whole: _Arm,
) -> tuple[Ablation, ...]:
    found = []
    names = [a.fix for a in planned.applied]
    for name in names:
        variants = (("without", tuple(n for n in names if n != name)), ("alone", (name,)))
        for kind, chosen in variants:
            if not chosen or (kind == "alone" and len(names) == 1):
                continue
            variant, _, _ = plan_repair(energy, train_batch, replace(options, forced=chosen))
            plan = replace(variant.plan, steps=planned.plan.steps)
            part = arm(f"{kind}-{name}", plan, options.base.seed)
            comparison = compare(part.diagnosis.measurements, whole.diagnosis.measurements, (kind, "whole"), PROOF)
            found.append(Ablation(name, "without" if kind == "without" else "alone", comparison))
    return tuple(found)


def _nothing_done(before: Diagnosis, planned: Planned, facts: Mapping[str, Any] | None) -> Repair:
    reasons = tuple(s.reason for s in planned.skipped) or ("Nothing needs fixing.",)
    ill = before.verdict == "critical"
    return Repair(
        verdict="not-improved" if ill else "healed",
        accepted=not ill,
        reasons=(*reasons, "Nothing was trained."),
        applied=(),
        skipped=planned.skipped,
        arms={"before": before},
        comparison=None,
        against_before=None,
        provenance={**before.provenance, **(facts or {})},
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        energydiag_version=__version__,
    )


def _loss_curves(control: _Arm, after: _Arm, batch_size: int) -> tuple[Curve, ...]:
    """Contrastive loss over steps with each arm's floor, as far as swap negatives alone set it."""
    curves = []
    for name, arm in (("control", control), ("after", after)):
        if arm.outcome is None or not arm.outcome.rows:
            continue
        steps = tuple(float(row.step) for row in arm.outcome.rows)
        curves.append(Curve(f"{name}.info_nce", steps, tuple(row.info_nce for row in arm.outcome.rows)))
        width = arm.diagnosis.measurement("head.energy_range")
        floors = tuple(
            floor_loss(batch_size - 1, None if width is None else width.value, row.tau) for row in arm.outcome.rows
        )
        curves.append(Curve(f"{name}.floor", steps, floors))
    if curves:
        curves.append(Curve("chance", curves[0].x, tuple(chance_loss(batch_size - 1) for _ in curves[0].x)))
    return tuple(curves)


def empty_folder(out: Path, *, resume: bool) -> None:
    """Makes the folder that results go to; refuses one that holds something else.

    Raises:
        UsageError: It is not empty and ``resume`` is not asked for, or it cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        taken = any(out.iterdir())
    except OSError as error:
        raise UsageError(
            f"--out {out} cannot be used: {error.strerror}.", "name a folder that can be written."
        ) from error
    if taken and not resume:
        raise UsageError(f"--out {out} is not empty.", "name an empty folder, or --resume to go on with the run in it.")


def repair_checkpoint(
    checkpoint: Path,
    dump: Path,
    train_dump: Path | None,
    model: ModelOptions,
    options: RepairOptions,
    out: Path,
    *,
    tau: float | None = None,
    holdout_fraction: float = 0.2,
    dry_run: bool = False,
    command: Sequence[str] = (),
    progress: Progress | None = None,
) -> tuple[Repair | None, Planned]:
    """`fix_and_retrain` on files; with ``dry_run`` the plan alone.

    Args:
        checkpoint: The sick checkpoint.
        dump: What the proof is measured on, and trained on too where ``train_dump`` is None.
        train_dump: What is trained on.
        model: What the keys may not tell.
        options: See `RepairOptions`.
        out: Where results go.
        tau: Temperature of the owner's training; None takes the checkpoint's, else the assumed one.
        holdout_fraction: Share of the episodes that the proof takes from a single dump.
        dry_run: Plan, and do nothing.
        command: For the result's provenance.
        progress: Told what is being done.

    Raises:
        EnergydiagError: As `fix_and_retrain`, `load_checkpoint` and `load_batch`.
    """
    energy, facts = read_checkpoint(checkpoint, model)
    proof = read_batch(dump)
    provenance = {"checkpoint_sha256": facts["sha256"], "heldout_sha256": proof.file.sha256(), "command": list(command)}
    if train_dump is None:
        train_batch, heldout = split_by_episode(proof.batch, holdout_fraction, options.base.seed)
    else:
        training = read_batch(train_dump)
        train_batch, heldout = training.batch, proof.batch
        provenance["train_sha256"] = training.file.sha256()
    chosen = tau or float(energy.settings.get("tau", ASSUMED_TAU))
    options = replace(options, base=replace(options.base, tau=chosen))
    if dry_run:
        return None, plan_repair(energy, train_batch, options)[0]
    empty_folder(out, resume=options.resume)
    repair = fix_and_retrain(energy, train_batch, heldout, options, out=out, facts=provenance, progress=progress)
    write_text(out / "result.json", repair.to_json())
    planned = Planned(options.base, (), repair.skipped)
    return repair, planned
