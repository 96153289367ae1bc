"""Checkpoints side by side, on the same samples."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from energydiag import __version__
from energydiag.batch import Batch
from energydiag.batches import read_batch
from energydiag.errors import UsageError
from energydiag.metrics import metric
from energydiag.models.energy_function import EnergyFunction
from energydiag.pipeline.baselines import FORM, Baseline, read_baseline
from energydiag.pipeline.comparing_runs import rankings
from energydiag.pipeline.identifying import shared_form
from energydiag.pipeline.inspecting import inspect, inspect_checkpoint
from energydiag.pipeline.limits import kept_to
from energydiag.pipeline.loading import ModelOptions
from energydiag.pipeline.naming import distinct_names
from energydiag.results import CheckpointDiagnosis, Comparison, Difference, Side, Skipped
from energydiag.results.changes import overall
from energydiag.statistics.verdicts import Number, changes, number_of

_PAIRED = ("batch_sha256", "seed", "swap_size", "samples_used")
"""What both sides need to have in common for their bootstrap draws to be pairs."""


def compare_checkpoints(
    checkpoints: Sequence[str | Path],
    dump: str | Path,
    models: Sequence[ModelOptions] = (),
    *,
    metrics: Sequence[str] = (),
    allowed: Mapping[str, str] | None = None,
    baseline: str | Path | None = None,
    command: Iterable[str] = (),
    progress: Callable[[str], None] | None = None,
    **options: Any,
) -> Comparison:
    """Compares checkpoints with the first of them, each measured on the same samples with the same draws.

    Args:
        checkpoints: Their paths.
        dump: The batch dump.
        models: What the keys may not tell: of each checkpoint, or one for all.
        metrics: Patterns of names of measurements; empty: those that the registry of metrics has for it.
        allowed: Largest regression by metric.
        baseline: A file that `save_baseline` wrote; it is the first side.
        command: The command line, for provenance.
        progress: Told what is being done.
        **options: As `inspect`: ``tau``, ``swap_size``, ``seed``, ``limit``.

    Raises:
        EnergydiagError: As `inspect_checkpoint` and `read_baseline`.
        UsageError: There are fewer than two sides, or something asked for does not exist.
    """
    state = None if baseline is None else read_baseline(baseline, "checkpoints")
    if len(checkpoints) + (state is not None) < 2:
        raise UsageError("There is one side only.", "name two checkpoints at least, or give --baseline FILE.")
    called = distinct_names([str(path) for path in checkpoints])
    diagnoses = diagnosed(checkpoints, called, dump, models, progress, options)
    return compare_diagnoses(diagnoses, metrics=metrics, allowed=allowed, baseline=state, command=command)


def diagnosed(
    checkpoints: Sequence[str | Path],
    called: Sequence[str],
    dump: str | Path,
    models: Sequence[ModelOptions],
    progress: Callable[[str], None] | None,
    options: Mapping[str, Any],
) -> dict[str, CheckpointDiagnosis]:
    """Every checkpoint's diagnosis with its draws, by name.

    Raises:
        EnergydiagError: As `inspect_checkpoint`.
        UsageError: Of some model options there is neither one nor one for each checkpoint.
    """
    each = list(models or [ModelOptions()])
    each = each * len(checkpoints) if len(each) == 1 else each
    if len(each) != len(checkpoints):
        raise UsageError(
            f"{len(each)} models are described for {len(checkpoints)} checkpoints.",
            "give an option once for all, or once for each checkpoint in their order.",
        )
    tell = progress or (lambda _step: None)
    shared = shared_form([Path(path) for path in checkpoints], each, read_batch(Path(dump)).batch)
    each = [replace(model, shared=shared) for model in each] if len(checkpoints) > 1 else each

    def measured(name: str, path: str | Path, model: ModelOptions) -> CheckpointDiagnosis:
        def told(step: str) -> None:
            tell(f"{name}: {step}")

        return inspect_checkpoint(Path(path), Path(dump), model, progress=told, **options)

    return {name: measured(name, path, model) for name, path, model in zip(called, checkpoints, each, strict=True)}


def compare(
    first: EnergyFunction | CheckpointDiagnosis,
    second: EnergyFunction | CheckpointDiagnosis,
    batch: Batch | None = None,
    **options: Any,
) -> Comparison:
    """Second against first, on the same samples.

    Args:
        first: An energy function, from `load_checkpoint`, or its diagnosis from `inspect` in this process.
        second: Likewise, measured on the same batch with the same seed.
        batch: What energy functions are measured on; not needed for diagnoses.
        **options: As `inspect`.

    Raises:
        UsageError: An energy function comes without a batch.
        EnergydiagError: As `inspect`.
    """
    sides = {}
    for name, side in (("first", first), ("second", second)):
        if isinstance(side, EnergyFunction):
            if batch is None:
                raise UsageError("An energy function is compared on a batch.", "compare(a, b, batch=load_batch(PATH)).")
            side = inspect(side, batch, **options)
        sides[name] = side
    return compare_diagnoses(sides)


def compare_diagnoses(
    diagnoses: Mapping[str, CheckpointDiagnosis],
    *,
    metrics: Sequence[str] = (),
    allowed: Mapping[str, str] | None = None,
    baseline: Baseline | None = None,
    command: Iterable[str] = (),
) -> Comparison:
    """Compares diagnoses, by their names in tables, with the first of them or with the baseline.

    Raises:
        UsageError: They were not made on the same samples, or something asked for does not exist.
    """
    made_with = [(name, paired_by(diagnosis)) for name, diagnosis in diagnoses.items()]
    made_with += [] if baseline is None else [(baseline.side.name, dict(baseline.made_with))]
    _same_samples(made_with)
    states = [baseline_of(diagnosis, name, metrics) for name, diagnosis in diagnoses.items()]
    is_older = baseline is not None and any(FORM in number.bound_to for number in baseline.numbers)
    states = [_of_form(state) for state in states] if is_older else states
    if baseline is not None:
        taken = baseline.side.name in diagnoses
        name = f"{baseline.side.name} (baseline)" if taken else baseline.side.name
        states = [replace(baseline, side=replace(baseline.side, name=name)), *states]
    numbers = {state.side.name: state.numbers for state in states}
    rows = changes(numbers)
    if not rows:
        raise UsageError("There is no metric that all sides have.", "see them with `inspect checkpoint --details`.")
    return Comparison(
        verdict=overall(rows),
        subject="checkpoints",
        at="",
        sides=tuple(state.side for state in states),
        metrics=rows,
        rankings=tuple(rankings(numbers, rows, "")),
        differences=tuple(_differences(states)),
        limits=kept_to(allowed or {}, rows),
        skipped=tuple(_missing(numbers)),
        notes=tuple(f"{name}: {note}" for name, diagnosis in diagnoses.items() for note in _notes(diagnosis)),
        provenance={
            **{key: value for key, value in made_with[0][1].items() if value},
            "versions": next(iter(diagnoses.values())).provenance.get("versions", {}),
            "command": list(command),
        },
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        energydiag_version=__version__,
    )


def _of_form(state: Baseline) -> Baseline:
    """A side whose numbers can be compared with those of heads of the same form alone."""
    form = state.side.facts.get("head", "")
    numbers = tuple(replace(number, bound_to={**number.bound_to, FORM: form}) for number in state.numbers)
    return replace(state, numbers=numbers)


def _notes(diagnosis: CheckpointDiagnosis) -> Iterable[str]:
    told = diagnosis.checkpoint.identity_told
    return (*((f"{told}.",) if told else ()), *diagnosis.notes)


def baseline_of(diagnosis: CheckpointDiagnosis, name: str, metrics: Sequence[str] = ()) -> Baseline:
    """A diagnosis as a side, with its draws."""
    wanted = [m for m in diagnosis.measurements if _wanted(m.name, metrics)]
    head = diagnosis.checkpoint.head
    known = {"head": head, "τ": f"{diagnosis.provenance['tau']:.4g}"}
    unlike = ("path", "energy", "identity", "identity_told", "energies_of")
    facts = {key: text for key, text in diagnosis.checkpoint.texts().items() if key not in unlike}
    paths = (diagnosis.checkpoint.path,)
    side = Side(name, paths, {**facts, "τ": known["τ"], "diagnosis": _finding(diagnosis)})
    known = {key: value for key, value in known.items() if value}
    numbers = tuple(number_of(m, diagnosis.batch.freedom, known) for m in wanted)
    return Baseline("checkpoints", side, numbers, paired_by(diagnosis))


def _finding(diagnosis: CheckpointDiagnosis) -> str:
    first = f": {diagnosis.findings[0].code} {diagnosis.findings[0].name}" if diagnosis.findings else ""
    return f"{diagnosis.verdict}{first}"


def _wanted(name: str, metrics: Sequence[str]) -> bool:
    if not metrics:
        return "compared" in metric(name).roles
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in metrics)


def paired_by(diagnosis: CheckpointDiagnosis) -> dict[str, str]:
    """What must be the same for another diagnosis to be paired with this one; empty texts where it is not known."""
    return {
        "batch_sha256": diagnosis.batch.sha256,
        "seed": str(diagnosis.provenance.get("seed", "")),
        "swap_size": str(diagnosis.provenance.get("swap_size", "")),
        "samples_used": str(diagnosis.batch.samples_used),
    }


def _same_samples(made_with: Sequence[tuple[str, Mapping[str, str]]]) -> None:
    first, of_first = made_with[0]
    for name, own in made_with[1:]:
        for key in _PAIRED:
            if own.get(key, "") != of_first.get(key, ""):
                raise UsageError(
                    f"{name} and {first} were not measured alike: their {key} is {own.get(key)} and "
                    f"{of_first.get(key)}.",
                    "compare on the same dump, with the same --seed, --swap-size and --limit.",
                )


def _differences(states: Sequence[Baseline]) -> Iterable[Difference]:
    keys = dict.fromkeys(key for state in states for key in state.side.facts)
    for key in keys:
        values = {state.side.name: state.side.facts.get(key, "") for state in states}
        if key != "sha256" and len(set(values.values())) > 1:
            yield Difference(key, values)


def _missing(numbers: Mapping[str, Sequence[Number]]) -> Iterable[Skipped]:
    names = dict.fromkeys(number.name for own in numbers.values() for number in own)
    for name in names:
        without = [side for side, own in numbers.items() if all(number.name != name for number in own)]
        if without:
            yield Skipped(name, f"not measured in {', '.join(without)}")
