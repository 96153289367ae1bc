"""A repair from files to files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from energydiag.atomic import write_text
from energydiag.batches import read_batch
from energydiag.errors import UsageError
from energydiag.fixes.planning import Planned, plan_from
from energydiag.pipeline.arms import Progress
from energydiag.pipeline.inspecting import ASSUMED_TAU
from energydiag.pipeline.loading import ModelOptions, read_checkpoint
from energydiag.pipeline.repairing import RepairOptions, examine, fix_and_retrain
from energydiag.pipeline.splitting import split_by_episode
from energydiag.results import Repair


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
        patient = examine(energy, train_batch, options).patient
        return None, plan_from(patient, options.base, options.forced)
    empty_folder(out, resume=options.resume)
    repair = fix_and_retrain(energy, train_batch, heldout, options, out=out, facts=provenance, progress=progress)
    write_text(out / "result.json", repair.to_json())
    planned = Planned(options.base, (), repair.skipped)
    return repair, planned
