"""A repair from files to files."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from energydiag.atomic import is_unfinished, sweep, write_text
from energydiag.batches import read_batch
from energydiag.errors import UsageError
from energydiag.fixes.planning import Planned
from energydiag.folder_lock import FolderLock, is_lock
from energydiag.pipeline.arms import Progress
from energydiag.pipeline.identifying import identified, shared_form
from energydiag.pipeline.inspecting import IDENTIFYING_TAU, objective_of, positive_number, suited_temperature, with_file
from energydiag.pipeline.inspecting_run import inspect_run
from energydiag.pipeline.loading import ModelOptions, open_checkpoint
from energydiag.pipeline.repairing import RepairOptions, assist, examine, fix_and_retrain, plan_repair
from energydiag.pipeline.splitting import split_by_episode
from energydiag.plan import Contrast
from energydiag.results import Repair
from energydiag.training.ranks import Ranks

OURS = frozenset({"runs", "figures", "repaired.safetensors", "result.json"})
"""Names of all that a repair writes into its folder."""


def own_folder(out: Path, *, resume: bool) -> FolderLock:
    """Makes the folder that results go to, locks it, and removes what a kill has left half-written.

    Raises:
        UsageError: Another process is at a repair in it, it holds a repair and ``resume`` is not asked for, holds
            anything else or a link, or cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(out, "repair", "a repair")
        try:
            _check_held(out, resume=resume)
        except BaseException:
            lock.release()
            raise
    except OSError as error:
        raise UsageError(
            f"--out {out} cannot be used: {error.strerror}.", "name a folder that can be written."
        ) from error
    return lock


def _check_held(out: Path, *, resume: bool) -> None:
    held = {path.name for path in out.iterdir() if not is_lock(path.name)}
    others = sorted(name for name in held - OURS if not is_unfinished(name))
    if others or (held and not resume):
        told = f"it holds {others[0]!r}" if others else "it holds a repair"
        go_on = "" if others else ", or --resume to go on with the repair in it"
        raise UsageError(f"--out {out} is not empty: {told}.", f"name an empty folder{go_on}.")
    link = next((path for path in out.rglob("*") if path.is_symlink()), None)
    if link is not None:  # what is written through it would go elsewhere
        raise UsageError(f"{link} is a link.", "remove it, or name an empty folder.")
    sweep(out)


def repair_checkpoint(
    checkpoint: Path,
    dump: Path,
    train_dump: Path | None,
    model: ModelOptions,
    options: RepairOptions,
    out: Path,
    *,
    tau: float | None = None,
    log: Path | None = None,
    holdout_fraction: float = 0.2,
    dry_run: bool = False,
    command: Sequence[str] = (),
    progress: Progress | None = None,
) -> tuple[Repair | None, Planned]:
    """`fix_and_retrain` on files; with ``dry_run`` the plan alone.

    Where torch.distributed is initialised, every process calls this. The first one gets the repair; the others train
    along, write nothing and get None.

    Args:
        checkpoint: The sick checkpoint.
        dump: What the proof is measured on, and trained on too where ``train_dump`` is None.
        train_dump: What is trained on.
        model: What the keys may not tell.
        options: See `RepairOptions`.
        out: Where results go.
        tau: Temperature of the owner's training; None takes the checkpoint's, else the assumed one.
        log: Log of the owner's training, or the folder that holds it; its findings join those of the checkpoint.
        holdout_fraction: Share of the episodes that the proof takes from a single dump.
        dry_run: Plan, and do nothing.
        command: For the result's provenance.
        progress: Told what is being done.

    Raises:
        EnergydiagError: As `fix_and_retrain`, `load_checkpoint`, `load_batch` and `inspect_run`.
    """
    ranks = Ranks.current()
    with ranks.agreement():
        opened = open_checkpoint(checkpoint, model)
        proof = read_batch(dump)
        training = None if train_dump is None else read_batch(train_dump)
        loaded = [one.batch for one in (proof, training) if one is not None]
        known = next((one for one in loaded if one.energies is not None), proof.batch)
        shared = replace(model, shared=shared_form([checkpoint], [model], known))
        found = identified(replace(opened, options=shared), known, tau or IDENTIFYING_TAU)
        energy, facts = found.energy, found.facts
        if training is None:
            train_batch, heldout = split_by_episode(proof.batch, holdout_fraction, options.base.seed)
        else:
            train_batch, heldout = training.batch, proof.batch
        of_run = None if log is None else inspect_run(log)
        lock = own_folder(out, resume=options.resume) if ranks.is_first and not dry_run else None
    chosen = tau or positive_number(energy.settings.get("tau", "")) or suited_temperature(energy, train_batch)
    trained_with = objective_of(energy, None, tau).objective.name
    contrast = next((one for one in get_args(Contrast) if one == trained_with), options.base.contrast)
    options = replace(options, base=replace(options.base, tau=chosen, contrast=contrast))
    options = options if of_run is None else replace(options, log=of_run.measurements)
    if not ranks.is_first:
        if not dry_run:
            assist(energy, train_batch, options, out=out)
        return None, Planned(options.base, (), ())
    if dry_run:
        return None, plan_repair(energy, train_batch, examine(energy, train_batch, options), options)
    provenance: dict[str, Any] = {"checkpoint_sha256": facts["sha256"], "heldout_sha256": proof.check().sha256()}
    provenance |= {"command": list(command)}
    provenance |= {} if training is None else {"train_sha256": training.check().sha256()}
    provenance |= {} if of_run is None else {"run_sha256": of_run.run.sha256}
    provenance |= {} if ranks.size == 1 else {"processes": ranks.size}
    with lock or nullcontext():
        repair = fix_and_retrain(energy, train_batch, heldout, options, out=out, facts=provenance, progress=progress)
        before = repair.arms["before"]
        told = replace(before, checkpoint=with_file(before.checkpoint, facts))
        repair = replace(repair, arms={**repair.arms, "before": told})
        write_text(out / "result.json", repair.to_json())
    planned = Planned(options.base, (), repair.skipped)
    return repair, planned
