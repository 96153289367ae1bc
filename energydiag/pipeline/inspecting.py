"""Load, measure, judge."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy
import torch

from energydiag import __version__
from energydiag.batch import Batch
from energydiag.batches import read_batch
from energydiag.energies.pairs import Pairs
from energydiag.errors import InvalidBatch, ModelFailed, UsageError
from energydiag.files.names import shown
from energydiag.models.build import architectures
from energydiag.models.calling import DIRECT
from energydiag.models.energy_function import EnergyFunction
from energydiag.models.left_as_found import left_as_found
from energydiag.objectives import UNKNOWN, Inferred, infer_of_model, objective_named, without_temperature
from energydiag.pipeline.identifying import check_fit, identified, signed
from energydiag.pipeline.inspecting_run import RUN_RULES
from energydiag.pipeline.loading import ModelOptions, open_checkpoint
from energydiag.pipeline.splitting import usable
from energydiag.probes import Evidence, MeasuringSettings, run_probes
from energydiag.probes.temperature import best_temperature
from energydiag.results import BatchFacts, CheckpointDiagnosis, CheckpointFacts, Measurement, Skipped
from energydiag.rules import judge
from energydiag.rules.judge import Judged

Progress = Callable[[str], None]

IDENTIFYING_TAU = 0.5
"""The design's base temperature, at which forms of a head are compared where no other is known."""


def inspect(
    energy: EnergyFunction,
    batch: Batch,
    *,
    tau: float | None = None,
    objective: str | None = None,
    swap_size: int = 64,
    seed: int = 0,
    limit: int | None = None,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    progress: Progress | None = None,
) -> CheckpointDiagnosis:
    """Measures an energy function on a batch and says what it suffers from.

    Args:
        energy: From `load_checkpoint`, or any module in an `EnergyFunction`; it is measured in eval mode and left as it
            was.
        batch: From `load_batch`.
        tau: Temperature of training; None takes the checkpoint's, else the one that suits these energies best, which no
            rule then judges.
        objective: What it was trained with; None takes the checkpoint's, else what can be inferred.
        swap_size: Contexts in a swap set.
        seed: Of swap sets, noise and resampling.
        limit: Use at most so many samples, spread over the episodes.
        select: Codes of rules, or prefixes of codes, to evaluate; empty: all.
        ignore: Codes not to ask.
        progress: Told what is being done.

    Raises:
        InvalidBatch: Fewer than two samples can be measured, or widths do not fit the model's.
        UsageError: The temperature is not positive, or the swap size is below two.
        ModelFailed: The model raised on these inputs.
    """
    notes = []
    source = "given" if tau is not None else "checkpoint"
    if tau is None and "tau" in energy.settings:
        tau = positive_number(energy.settings["tau"])
    if tau is not None and not (math.isfinite(tau) and tau > 0):
        raise UsageError(f"The temperature must be a positive number, not {tau}.", "use the one of training.")
    if swap_size < 2:
        raise UsageError(f"A swap set needs two contexts at least, not {swap_size}.", "leave it at 64.")
    check_fit(energy, batch)
    whole = batch if limit is None else batch.select(batch.spread(limit))
    nonfinite, all_hidden = whole.unusable()
    kept = whole.select(torch.nonzero(~(nonfinite | all_hidden)).reshape(-1))
    if len(kept) < 2:
        raise InvalidBatch(
            "Two samples at least are needed, for one to be the other's negative; "
            f"{len(kept)} of {len(whole)} can be used ({int(nonfinite.sum())} hold NaN or infinity, "
            f"{int(all_hidden.sum())} have their whole context hidden).",
            "mend the policy's outputs or the mask." if len(whole) > 1 else "dump a batch of more samples.",
        )
    if kept.episode is None:
        notes.append("The dump names no episodes; intervals take samples as independent and may be too narrow.")
    settings = MeasuringSettings(tau=tau or 1.0, swap_size=swap_size, seed=seed)
    found = objective_of(energy, objective, tau)
    with left_as_found(energy.module):
        energy.module.eval()
        energy, assumed = signed(energy, kept)
        notes += [assumed] if assumed else []
        evidence = Evidence(energy, kept, whole, settings)
        if tau is None:
            source, tau = "best", _best_temperature(evidence)
            evidence.settings = replace(settings, tau=tau)
            notes.append(
                f"The temperature of training is not known (--tau); energies are measured at τ = {tau:.3g}, which "
                "suits them best, and no rule judges it."
            )
        answer = run_probes(evidence, progress or (lambda _step: None))
        checkpoint = _describe_model(evidence, found, source)
    judged = judged_checkpoint(checkpoint, answer.measurements, answer.skipped, select, ignore)
    if evidence.batching:
        notes.append(f"The model cannot be batched over candidates and ran row by row: {evidence.batching}.")
    return CheckpointDiagnosis(
        verdict=judged.verdict,
        checkpoint=checkpoint,
        batch=describe_batch(batch, kept),
        measurements=answer.measurements,
        findings=judged.findings,
        open=judged.open,
        skipped=answer.skipped + tuple(s for s in judged.skipped if not s.name.startswith(RUN_RULES)),
        distributions=answer.distributions,
        curves=answer.curves,
        notes=tuple(notes),
        provenance={
            "seed": seed,
            "tau": tau,
            "swap_size": swap_size,
            "device": str(energy.device),
            "dtype": str(energy.dtype).removeprefix("torch."),
            "versions": {
                "python": platform.python_version(),
                "torch": str(torch.__version__),
                "numpy": numpy.__version__,
            },
        },
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        energydiag_version=__version__,
    )


def inspect_checkpoint(
    checkpoint: str | Path,
    dump: str | Path,
    model: ModelOptions | None = None,
    *,
    command: Iterable[str] = (),
    **options: Any,
) -> CheckpointDiagnosis:
    """`inspect` on files, with what the result should say of them.

    Args:
        checkpoint: The checkpoint's path.
        dump: The batch dump's path.
        model: What the keys may not tell.
        command: The command line, for the result's provenance.
        **options: As `inspect`.

    Raises:
        EnergydiagError: As `load_checkpoint`, `load_batch` and `inspect`.
    """
    opened = open_checkpoint(Path(checkpoint), model or ModelOptions())
    loaded = read_batch(Path(dump))
    check = loaded.check()
    found = identified(opened, loaded.batch, options.get("tau") or IDENTIFYING_TAU)
    facts = found.facts
    diagnosis = inspect(found.energy, loaded.batch, **options)
    unread = (Skipped(f"batch.{name}", "this key of the dump means nothing here") for name in loaded.unknown)
    notes = [text for text in (facts.pop("overridden", ""), _choice(facts), *_passed_over(facts)) if text]
    return replace(
        diagnosis,
        notes=(*diagnosis.notes, *notes),
        checkpoint=with_file(diagnosis.checkpoint, facts),
        batch=replace(diagnosis.batch, path=str(dump), format=loaded.file.format, sha256=check.sha256()),
        skipped=diagnosis.skipped + tuple(unread),
        provenance={**diagnosis.provenance, "command": list(command)},
    )


def _choice(facts: Mapping[str, str]) -> str:
    """Which of several sets of weights was taken; empty where there was one."""
    if "also_there" not in facts:
        return ""
    taken = facts.get("container", "") or "top level"
    return f"The weights are those of {shown(taken)[1:-1]}; also there: {facts['also_there']}."


def _passed_over(facts: MutableMapping[str, str]) -> Iterator[str]:
    """Which of the checkpoint's keys the model does not read."""
    if "never_read" in facts:
        yield f"Not read, as in the published heads that store it: {facts.pop('never_read')}."
    if "ignored" in facts:
        yield f"Passed over by --ignore-keys: {facts.pop('ignored')}."


def positive_number(text: str) -> float | None:
    """The number that a text stands for, if it is finite and positive."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < math.inf else None


def _best_temperature(evidence: Evidence) -> float:
    """The temperature that suits the energies best; 1 where the model gives none, which the probes report."""
    try:
        return best_temperature(evidence.swap.energy)
    except ModelFailed:
        return 1.0


def objective_of(energy: EnergyFunction, stated: str | None, tau: float | None) -> Inferred:
    """What an energy function was trained with.

    Args:
        energy: The function.
        stated: What the user says; None: as its settings, its parameters or its architecture tell.
        tau: Temperature of training, where it is known.

    Raises:
        UsageError: ``stated`` names no objective.
    """
    return infer_of_model(
        stated,
        energy.settings,
        (name for name, _ in energy.module.named_parameters()),
        built_in=energy.architecture in architectures(),
        has_temperature=tau is not None,
    )


def suited_temperature(energy: EnergyFunction, batch: Batch) -> float:
    """The temperature that suits an energy function best, measured on the first in-batch set of a batch."""
    evidence = Evidence(energy, batch.select(usable(batch)), batch, MeasuringSettings())
    with left_as_found(energy.module):
        energy.module.eval()
        return best_temperature(evidence.swap.energy[:1])


def judged_checkpoint(
    checkpoint: CheckpointFacts,
    measurements: Sequence[Measurement],
    unmeasured: Sequence[Skipped],
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> Judged:
    """What the rules say of a checkpoint, by its objective and by what is known of its temperature."""
    objective = objective_named(checkpoint.objective) if checkpoint.objective else UNKNOWN
    if checkpoint.temperature == "best":
        objective = without_temperature(objective)
    return judge(measurements, select, ignore, objective=objective, unmeasured=unmeasured)


def _describe_model(evidence: Evidence, found: Inferred, temperature: str) -> CheckpointFacts:
    energy = evidence.energy
    return CheckpointFacts.of(
        {
            "architecture": energy.architecture,
            **{key: value for key, value in energy.settings.items() if key != "architecture"},
            **_called(evidence),
            "energy": evidence.reading.describe(),
            "objective": found.objective.name,
            "inferred": found.how,
            "temperature": temperature,
            "parameters": str(energy.parameter_count),
        }
    )


def _called(evidence: Evidence) -> dict[str, str]:
    """How a stranger's module is asked, where that is not how all others are."""
    some = evidence.batch.take(torch.arange(min(2, len(evidence.batch))))
    pairs = Pairs(some.hidden, some.actions, some.pad_mask, shared=True).to(
        evidence.energy.device, evidence.energy.dtype
    )
    text = evidence.energy.called(pairs.hidden, pairs.actions, pairs.pad_mask)
    return {} if text == DIRECT.described() else {"called": text}


def describe_batch(batch: Batch, usable: Batch) -> BatchFacts:
    """What a batch holds, and how much of it can be used."""
    return BatchFacts(
        samples=len(batch),
        samples_used=len(usable),
        episodes=None if usable.episode is None else len(torch.unique(usable.episode)),
        hidden=tuple(batch.hidden.shape),
        actions=tuple(batch.actions.shape),
    )


def with_file(model: CheckpointFacts, file: Mapping[str, str]) -> CheckpointFacts:
    """What the module says of itself, and of its file what the module does not."""
    return CheckpointFacts.of({**file, **model.texts()})
