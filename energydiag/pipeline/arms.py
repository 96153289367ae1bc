"""One way to train, with one seed, and what it came to on the held-out samples."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from energydiag import __version__
from energydiag.batch import Batch
from energydiag.files.write_safetensors import write_safetensors
from energydiag.metrics import ENERGY_RANGE
from energydiag.models.copying import copied
from energydiag.models.energy_function import EnergyFunction
from energydiag.models.surgery import Anatomy, operate
from energydiag.objectives import infonce_floor
from energydiag.pipeline.crew import Crew
from energydiag.pipeline.inspecting import inspect
from energydiag.pipeline.proof import indifferent
from energydiag.plan import TrainingPlan
from energydiag.results import Applied, CheckpointDiagnosis, Curve, Measurement
from energydiag.statistics.verdicts import fallen
from energydiag.training.log import LogRow
from energydiag.training.loop import TrainingOutcome, train

Progress = Callable[[str], None]

REHEARSAL_SAMPLES = 256
"""Validation samples that a repair is tried on before it goes to the proof: what the field is measured on at most."""

_REHEARSAL_SEED = 0

_FEWEST = 2
"""Samples that can be measured: one alone has no negatives."""


@dataclass(frozen=True)
class Arm:
    """One way to train, with one seed: the result and what was measured of it on the held-out samples."""

    energy: EnergyFunction
    outcome: TrainingOutcome | None
    diagnosis: CheckpointDiagnosis

    @property
    def reverted(self) -> bool:
        """Whether it is the patient as it was, since every attempt has made something worse."""
        return self.outcome is not None and self.outcome.reverted


@dataclass(frozen=True)
class Bench:
    """Where arms are trained: the same patient, samples and folder for all of them, in every process.

    Attributes:
        energy: The sick function; every arm starts from a copy.
        anatomy: Its own.
        training: What arms are trained on.
        validation: What decides which step is kept.
        out: Folder for logs and states, or None.
        resume: Whether runs found in it go on.
        tell: Told what is being done.
        judged: The numbers of the proof, which a repair is tried on first.
    """

    energy: EnergyFunction
    anatomy: Anatomy
    training: Batch
    validation: Batch
    out: Path | None
    resume: bool
    tell: Progress
    judged: tuple[str, ...]

    def train(self, name: str, plan: TrainingPlan) -> tuple[EnergyFunction, TrainingOutcome | None]:
        """One way to train, from surgery to the weights that are kept; with zero steps, surgery alone.

        Where that has cost something which was not won back, it is the patient as it was.
        """
        title = f"{name}, seed {plan.seed}"
        self.tell(title)
        settings = {**self.energy.settings, "tau": str(plan.tau)}
        patient = replace(self.energy, module=copied(self.energy.module), settings=settings)
        patient = operate(patient, plan.surgery, self.anatomy, plan.seed)
        outcome = None
        if plan.steps:
            outcome = train(
                patient,
                self.training,
                plan,
                validation=self.validation,
                folder=None if self.out is None else self.out / "runs" / f"{name}-{plan.seed}",
                resume=self.resume,
                progress=lambda row: self.tell(f"{title}: step {row.step} of {plan.steps}, {_glance(row)}"),
                origin=self.energy if plan.surgery else None,
            )
            patient = replace(patient, settings={**patient.settings, "tau": f"{outcome.tau:g}"})
            worse = () if outcome.reverted or not plan.guarded or not outcome.best_step else self._rehearsed(patient)
            if worse:
                outcome = replace(outcome, reverted=True, fallen=worse)
            if outcome.reverted:
                patient = replace(self.energy, module=copied(self.energy.module))
        return patient, outcome

    def _rehearsed(self, trained: EnergyFunction) -> tuple[str, ...]:
        """The numbers of the proof that are worse than the patient's on validation samples.

        While it trains, a run looks at a few of them; following the energy for several steps costs too much for that.
        """
        if len(self.validation) < _FEWEST:
            return ()
        return worse_in_rehearsal(self._before, rehearsal(trained, self.validation), self.judged)

    @functools.cached_property
    def _before(self) -> CheckpointDiagnosis:
        return rehearsal(self.energy, self.validation)


def rehearsal(energy: EnergyFunction, validation: Batch) -> CheckpointDiagnosis:
    """What is measured of a function before it goes to the proof."""
    return inspect(energy, validation, seed=_REHEARSAL_SEED, limit=REHEARSAL_SAMPLES)


def worse_in_rehearsal(
    before: CheckpointDiagnosis, after: CheckpointDiagnosis, judged: Sequence[str]
) -> tuple[str, ...]:
    """The numbers of the proof that a repair seems to cost; see `energydiag.statistics.verdicts.fallen`."""
    named = [name for name in judged if name not in indifferent(before, judged)]
    return fallen(before, after, named)


@dataclass(frozen=True)
class Workshop:
    """Where arms are trained and measured: in the first process, where there are several.

    Attributes:
        bench: Where they are trained.
        crew: The processes that train along.
        heldout: What arms are measured on.
        seed: Of the measuring, the same for all arms, so that they can be compared sample by sample.
    """

    bench: Bench
    crew: Crew
    heldout: Batch
    seed: int

    def arm(self, name: str, plan: TrainingPlan) -> Arm:
        """One way to train, from surgery to the measurements."""
        with self.crew.at_work(name, plan):
            patient, outcome = self.bench.train(name, plan)
        self.bench.tell(f"{name}, seed {plan.seed}: held-out samples")
        return Arm(patient, outcome, inspect(patient, self.heldout, seed=self.seed))


def _glance(row: LogRow) -> str:
    return (
        f"loss {row.loss:.3f}, gap {row.gap:.3g}, AUROC {row.auroc:.3f}, "
        f"saturated {row.slope_saturated_fraction:.0%}, gradient {row.gradient_norm:.2g}"
    )


def together(arms: Sequence[Arm], seed: int) -> CheckpointDiagnosis:
    """One diagnosis for runs with several seeds: the first run's, with numbers averaged over the runs."""
    measurements = over_seeds([arm.diagnosis.measurements for arm in arms], seed)
    return replace(arms[0].diagnosis, measurements=measurements)


def over_seeds(runs: Sequence[Sequence[Measurement]], seed: int) -> tuple[Measurement, ...]:
    """Measurements of one arm, averaged over its runs with different seeds.

    Args:
        runs: Measurements of each run, on the same samples with the same draws.
        seed: Of the resampling of runs, by which the interval covers the spread between them as well.
    """
    if len(runs) == 1:
        return tuple(runs[0])
    by_name = [{m.name: m for m in run} for run in runs]
    generator = np.random.default_rng(seed)
    found = []
    for m in runs[0]:
        same = [names[m.name] for names in by_name if m.name in names]
        if len(same) < len(runs):
            continue
        draws = None
        stacked = [np.asarray(s.draws) for s in same if s.draws is not None]
        if len(stacked) == len(runs):
            table = np.stack(stacked)
            chosen = generator.integers(len(runs), size=(len(runs), table.shape[1]))
            draws = np.take_along_axis(table, chosen, axis=0).mean(axis=0)
        value = float(np.mean([s.value for s in same]))
        interval = None if draws is None else (float(np.percentile(draws, 2.5)), float(np.percentile(draws, 97.5)))
        found.append(replace(m, value=value, ci95=interval, draws=draws))
    return tuple(found)


def chosen_score(arm: Arm) -> float:
    """The validation score of the weights that an arm was left with; 0 where there is none."""
    return 0.0 if arm.outcome is None or math.isnan(arm.outcome.best_score) else arm.outcome.best_score


def unkept(arms: Sequence[Arm]) -> tuple[str, ...]:
    """A sentence where training was for nothing: every better validation score was paid for in one of its parts."""
    named = sorted({name for arm in arms if arm.outcome is not None for name in arm.outcome.fallen})
    if any(arm.reverted for arm in arms):
        beside = f" in {', '.join(named)}" if named else ""
        return (f"The model was left as it was: on validation episodes all that was tried is worse{beside}.",)
    if not named:
        return ()
    return (
        f"The weights that training began with were kept: those with a better validation score were worse in "
        f"{', '.join(named)}.",
    )


def loss_curves(control: Arm, after: Arm, batch_sizes: tuple[int, int]) -> tuple[Curve, ...]:
    """Contrastive loss over steps with each arm's floor and with chance, as far as swap negatives alone set them."""
    curves = []
    for name, arm, size in zip(("control", "after"), (control, after), batch_sizes, strict=True):
        if arm.outcome is None or not arm.outcome.rows:
            continue
        steps = tuple(float(row.step) for row in arm.outcome.rows)
        curves.append(Curve(f"{name}.info_nce", steps, tuple(row.info_nce for row in arm.outcome.rows)))
        width = arm.diagnosis.measurement(ENERGY_RANGE)
        reach = math.inf if width is None else width.value
        floors = tuple(infonce_floor(size - 1, reach / row.tau) for row in arm.outcome.rows)
        curves.append(Curve(f"{name}.floor", steps, floors))
    for size, name in {batch_sizes[1]: "after.chance", batch_sizes[0]: "chance"}.items() if curves else ():
        curves.append(Curve(name, curves[0].x, tuple(math.log(size) for _ in curves[0].x)))
    return tuple(curves)


def save_repaired(energy: EnergyFunction, applied: Sequence[Applied], path: Path, facts: Mapping[str, Any]) -> Path:
    """Writes weights with everything that `load_checkpoint` needs to rebuild them.

    Raises:
        UsageError: The folder cannot be written to.
    """
    settings = {key: str(value) for key, value in energy.settings.items()}
    metadata = {
        **settings,
        "architecture": energy.architecture,
        "sign": energy.sign or "energy",
        "fixes": json.dumps([a.fix for a in applied]),
        "energydiag_version": __version__,
        **{key: str(value) for key, value in facts.items() if key.endswith("sha256")},
    }
    write_safetensors(path, energy.module.state_dict(), metadata)
    return path
