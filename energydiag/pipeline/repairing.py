"""Diagnose, plan, retrain with and without the fixes, and prove it on samples that took no part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from energydiag import __version__
from energydiag.batch import Batch
from energydiag.energies.gradients import action_gradients
from energydiag.energies.pairs import Pairs
from energydiag.errors import UsageError
from energydiag.fixes import Patient
from energydiag.fixes.planning import Planned, plan_from
from energydiag.models.copying import copied
from energydiag.models.energy_function import EnergyFunction
from energydiag.models.surgery import Anatomy, dissect, operate
from energydiag.pipeline.arms import (
    Bench,
    Progress,
    Workshop,
    chosen_score,
    loss_curves,
    rehearsal,
    save_repaired,
    together,
    unkept,
    worse_in_rehearsal,
)
from energydiag.pipeline.crew import Crew, jobs, leading
from energydiag.pipeline.identifying import signed
from energydiag.pipeline.inspecting import inspect, judged_checkpoint
from energydiag.pipeline.proof import indifferent, judge_repair, lost, proof_names
from energydiag.pipeline.splitting import check_apart, positions_by_episode, split_by_episode, usable
from energydiag.plan import TrainingPlan
from energydiag.results import Ablation, Applied, CheckpointDiagnosis, Measurement, Repair, Skipped
from energydiag.results.repair import Variant
from energydiag.statistics.verdicts import compare
from energydiag.training.ranks import Ranks
from energydiag.training.validation import look

VALIDATION_FRACTION = 0.1
"""Share of the training episodes that early stopping looks at (a guess: 10 % of a few hundred episodes)."""

PLANNING_SAMPLES = 512
"""Training samples that the diagnosis for the plan is made on; the held-out ones serve the proof alone."""

_FEW = 16
"""Samples on which it is tried whether an action reaches the energy at all."""


@dataclass(frozen=True)
class RepairOptions:
    """How a repair is made.

    Attributes:
        base: What the control trains: the owner's recipe.
        forced: Names of fixes, in order; empty: planned from the findings.
        seeds: Runs of control and repair with different seeds.
        ablate: Whether every fix is also left out, and tried alone.
        resume: Whether an interrupted run in the same folder goes on.
        log: What was measured of the log of the owner's training; it is judged together with the checkpoint.
    """

    base: TrainingPlan
    forced: tuple[str, ...] = ()
    seeds: int = 1
    ablate: bool = False
    resume: bool = False
    log: tuple[Measurement, ...] = ()


@dataclass(frozen=True)
class Examined:
    """What is known of an energy function before anything is planned."""

    patient: Patient
    anatomy: Anatomy


def examine(energy: EnergyFunction, train_batch: Batch, options: RepairOptions) -> Examined:
    """Diagnoses the training samples and looks at how the model is built.

    Raises:
        EnergydiagError: As `inspect`.
    """
    seen = inspect(energy, train_batch, tau=options.base.tau, seed=options.base.seed, limit=PLANNING_SAMPLES)
    findings = seen.findings
    if options.log:
        findings = judged_checkpoint(seen.checkpoint, (*seen.measurements, *options.log), seen.skipped).findings
    anatomy = _anatomy(energy, train_batch)
    reading = anatomy.reading
    layers, policy = train_batch.layer_actions, train_batch.policy_actions
    patient = Patient(
        findings=findings,
        measurements={m.name: m for m in seen.measurements},
        head="unknown" if reading.stopped_at else reading.activation.name if reading.activation else "linear",
        built_in=energy.widths is not None,
        action_norm=anatomy.action_norm,
        last_layer=anatomy.last_layer,
        unresettable=anatomy.unresettable,
        has_layers=layers is not None and layers.shape[1] >= 2,
        has_policy=policy is not None,
        policy_error=None if policy is None else float((policy - train_batch.actions).abs().mean()),
        action_cut_off=_action_cut_off(energy, train_batch, anatomy, options.base.seed),
        samples=_training_samples(train_batch, options.base.seed),
    )
    return Examined(patient, anatomy)


def plan_repair(energy: EnergyFunction, train_batch: Batch, examined: Examined, options: RepairOptions) -> Planned:
    """The plan for what was examined.

    An operation that the automatic plan takes to be all that is needed is tried first, on the training samples' own
    validation episodes: where the energies are no better after it, or clearly worse in one part, it is trained on.

    Args:
        energy: As `examine` had it.
        train_batch: As there.
        examined: What it said.
        options: As there.

    Raises:
        EnergydiagError: A forced fix does not exist, or the model raised.
    """
    planned = plan_from(examined.patient, options.base, options.forced)
    if options.forced or not planned.applied or planned.plan.steps:
        return planned
    validation = _validation(train_batch, options.base.seed)
    turned = operate(_copy(energy), planned.plan.surgery, examined.anatomy, options.base.seed)
    before, after = (look(each, validation, options.base.seed) for each in (energy, turned))
    tried = [rehearsal(each, validation) for each in (energy, turned)] if len(validation) > 1 else []
    worse = worse_in_rehearsal(tried[0], tried[1], proof_names(validation)) if tried else ()
    if after.score > before.score and not worse:
        return planned
    told = (
        f"alone it brings the validation score from {before.score:.3f} to {after.score:.3f}"
        + (f" and lowers {', '.join(worse)}" if worse else "")
        + ", so it is trained on"
    )
    trained = plan_from(examined.patient, options.base, always_train=True)
    names = [applied.fix for applied in planned.applied]
    return replace(trained, skipped=(*trained.skipped, Skipped("auto", f"{' and '.join(names)}: {told}")))


def _copy(energy: EnergyFunction) -> EnergyFunction:
    return replace(energy, module=copied(energy.module))


def _validation(train_batch: Batch, seed: int) -> Batch:
    index = usable(train_batch)
    return train_batch.select(index[positions_by_episode(train_batch.groups[index], VALIDATION_FRACTION, seed)[1]])


def _training_samples(train_batch: Batch, seed: int) -> int:
    """How many samples are left to train on; all where they cannot be split, of which training itself complains."""
    groups = train_batch.groups[usable(train_batch)]
    if len(torch.unique(groups)) < 2:
        return len(groups)
    return len(positions_by_episode(groups, VALIDATION_FRACTION, seed)[0])


def _action_cut_off(energy: EnergyFunction, train_batch: Batch, anatomy: Anatomy, seed: int) -> bool:
    """Whether no action moves the energy, with these weights and with freshly drawn ones: then it does not get there.

    Saturated and dead units have no slope either, but fresh weights give them one, and a normalisation that leaves
    nothing of the action can be taken out.
    """
    few = train_batch.take(usable(train_batch)[:_FEW])
    pairs = Pairs(few.hidden, few.actions[:, None], few.pad_mask, shared=False)

    def slopes(some: EnergyFunction) -> bool:
        some.module.eval()
        return bool((action_gradients(some, pairs).gradient != 0).any())

    if anatomy.unresettable or slopes(energy):
        return False
    again = ["fresh-weights", *(["remove-norm"] if anatomy.action_norm else [])]
    return not slopes(operate(_copy(energy), again, anatomy, seed))


def _anatomy(energy: EnergyFunction, train_batch: Batch) -> Anatomy:
    few = train_batch.take(usable(train_batch)[:2])
    mask = None if few.pad_mask is None else few.pad_mask.to(energy.device)
    hidden, actions = (value.to(energy.device, energy.dtype) for value in (few.hidden, few.actions))
    return dissect(energy, hidden, actions, mask)


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

    Where torch.distributed is initialised, the process with rank 0 calls this, and all others call `assist`.

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
    ranks = Ranks.current()
    if not ranks.is_first:
        raise UsageError(f"Process {ranks.rank} cannot lead a repair.", "call `assist` in it.")
    with leading(ranks) as crew:
        return _repaired(energy, train_batch, heldout, options, out, facts, progress or (lambda _step: None), crew)


def assist(energy: EnergyFunction, train_batch: Batch, options: RepairOptions, *, out: Path | None = None) -> None:
    """What all processes but the first do while that one is at `fix_and_retrain`: they train along, and write nothing.

    Args:
        energy: As there; it stays as it is.
        train_batch: As there.
        options: As there.
        out: As there: the folder of the first process, for its saved states.

    Raises:
        EnergydiagError: As there.
    """
    bench: Bench | None = None
    for name, plan in jobs(Ranks.current()):
        if bench is None:
            samples = train_batch.select(usable(train_batch))
            energy, _ = signed(energy, samples)
            # what is kept here is not judged: the first process has the same weights
            bench = _bench(energy, _anatomy(energy, samples), samples, options, out, lambda _step: None, ())
        bench.train(name, plan)


def _bench(
    energy: EnergyFunction,
    anatomy: Anatomy,
    train_batch: Batch,
    options: RepairOptions,
    out: Path | None,
    tell: Progress,
    judged: tuple[str, ...],
) -> Bench:
    training, validation = split_by_episode(train_batch, VALIDATION_FRACTION, options.base.seed)
    return Bench(energy, anatomy, training, validation, out, options.resume, tell, judged)


def _repaired(
    energy: EnergyFunction,
    train_batch: Batch,
    heldout: Batch,
    options: RepairOptions,
    out: Path | None,
    facts: Mapping[str, Any] | None,
    tell: Progress,
    crew: Crew,
) -> Repair:
    check_apart(train_batch, heldout)
    train_batch, heldout = (batch.select(usable(batch)) for batch in (train_batch, heldout))
    given, (energy, _) = energy, signed(energy, train_batch)
    tell("diagnosis of the training samples")
    examined = examine(energy, train_batch, options)
    planned = plan_repair(energy, train_batch, examined, options)
    tell("held-out samples before the repair")
    before = inspect(given, heldout, tau=options.base.tau, seed=options.base.seed)
    if not planned.applied:
        return _nothing_done(before, planned, facts)
    bench = _bench(energy, examined.anatomy, train_batch, options, out, tell, proof_names(heldout))
    workshop = Workshop(bench, crew, heldout, options.base.seed)
    control_plan = replace(options.base, steps=planned.plan.steps, guarded=False)
    seeds = range(options.base.seed, options.base.seed + options.seeds)
    controls = [workshop.arm("control", replace(control_plan, seed=seed)) for seed in seeds]
    afters = [workshop.arm("after", replace(planned.plan, seed=seed)) for seed in seeds]
    sides = [together(arms, options.base.seed) for arms in (controls, afters)]
    names = proof_names(heldout)
    against_control = compare(sides[0], sides[1], ("control", "after"), names)
    against_before = compare(before, sides[1], ("before", "after"), names)
    verdict, reasons = judge_repair(
        against_before,
        against_control,
        sides[1],
        diverged=any(a.outcome is not None and a.outcome.stopped == "non-finite" for a in afters),
        lost=lost(before, sides[1], names),
        indifferent=indifferent(before, names),
    )
    ablation: tuple[Ablation, ...] = ()
    if options.ablate and planned.plan.steps:
        ablation = _ablate(planned, options.base, examined.patient, workshop, afters[0].diagnosis)
    reasons += unkept(afters)
    applied = tuple(Applied(a.fix, dict(a.parameters), a.handles) for a in planned.applied)
    checkpoint = ""
    if out is not None:
        best = max(afters, key=chosen_score)
        done = () if best.reverted else applied
        checkpoint = str(save_repaired(best.energy, done, out / "repaired.safetensors", facts or {}))
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
        curves=loss_curves(controls[0], afters[0], (options.base.batch_size, planned.plan.batch_size)),
        provenance={**before.provenance, **(facts or {}), "seeds": list(seeds)},
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        energydiag_version=__version__,
    )


def _ablate(
    planned: Planned, base: TrainingPlan, patient: Patient, workshop: Workshop, whole: CheckpointDiagnosis
) -> tuple[Ablation, ...]:
    found = []
    names_of_proof = proof_names(workshop.heldout)
    names = [applied.fix for applied in planned.applied]
    for name in names:
        variants: dict[Variant, tuple[str, ...]] = {"without": tuple(n for n in names if n != name), "alone": (name,)}
        for kind, chosen in variants.items():
            if not chosen or len(names) == 1:
                continue
            plan = replace(plan_from(patient, base, chosen).plan, steps=planned.plan.steps)
            part = workshop.arm(f"{kind}-{name}", plan).diagnosis
            comparison = compare(part, whole, (kind, "whole"), names_of_proof)
            found.append(Ablation(name, kind, comparison))
    return tuple(found)


def _nothing_done(before: CheckpointDiagnosis, planned: Planned, facts: Mapping[str, Any] | None) -> Repair:
    found = [finding.code for finding in before.findings]
    told = f"No fix that can be applied handles what was found ({', '.join(found)})" if found else "Nothing was found"
    return Repair(
        verdict="not-improved" if found else "healed",
        accepted=before.verdict != "critical",
        reasons=(f"{told}, so nothing was trained.",),
        applied=(),
        skipped=planned.skipped if found else (),
        arms={"before": before},
        comparison=None,
        against_before=None,
        provenance={**before.provenance, **(facts or {})},
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        energydiag_version=__version__,
    )
