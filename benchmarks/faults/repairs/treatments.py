"""Three treatments of one sick model, judged by the same proof: the automatic plan, a fix drawn at random, and none.

The stages are those of `energydiag.pipeline.repairing`, in the same order and with the same seeds, so that ``auto`` is
what ``fix-and-retrain --fix auto`` does. They are put together anew to train the control and measure the sick model
once for all three.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from energydiag.batch import Batch
from energydiag.errors import EnergydiagError, first_line
from energydiag.fixes.fix import fixes
from energydiag.fixes.planning import Planned, plan_from
from energydiag.models.energy_function import EnergyFunction
from energydiag.pipeline import RepairOptions
from energydiag.pipeline.arms import Arm, Bench, Workshop, unkept
from energydiag.pipeline.crew import Crew
from energydiag.pipeline.inspecting import inspect
from energydiag.pipeline.proof import indifferent, judge_repair, lost, proof_names
from energydiag.pipeline.repairing import VALIDATION_FRACTION, Examined, examine, plan_repair
from energydiag.pipeline.splitting import check_apart, split_by_episode, usable
from energydiag.plan import TrainingPlan
from energydiag.results import Changes, Diagnosis, Measurement
from energydiag.statistics.verdicts import compare
from energydiag.training.ranks import Ranks

AUTO, RANDOM, CONTROL = "auto", "random", "control"
TREATMENTS = (AUTO, RANDOM, CONTROL)

NOTHING_PLANNED, REFUSED, FAILED = "nothing-planned", "refused", "failed"
"""What came of a treatment that trained nothing: no fix in the plan, an error that the user is told, a traceback."""


@dataclass(frozen=True)
class Outcome:
    """What one treatment came to on the held-out samples.

    Attributes:
        treatment: One of `TREATMENTS`.
        verdict: As `energydiag.results.Repair` has it, or one of those above.
        accepted: Whether the proof holds: better than before and than the control, worse in nothing. For the control
            itself, which has nothing beside it: better than before, worse in nothing.
        recovered: Whether it is better than before and worse in nothing, whatever the control came to.
        harmed: Names of the proof's numbers that are worse than before, with intervals that exclude zero; not among
            them those that were ½ since all energies tied.
        improved: Those that are better than before.
        than_control: Those that are better than the control's.
        below_control: Those that are worse than the control's.
        fixes: Names of the applied fixes, in order.
        reasons: The verdict's, or why nothing was done.
        draws: How many fixes were drawn until one could be applied.
        steps: Optimiser steps; 0 where the model was only turned round.
        best_step: Step whose weights were kept, by their validation score; 0 where none was better than the old ones.
        seconds: Of the processor; the control's holds what all treatments share.
        numbers: What the proof looked at, by name.
    """

    treatment: str
    verdict: str
    accepted: bool = False
    recovered: bool = False
    harmed: tuple[str, ...] = ()
    improved: tuple[str, ...] = ()
    than_control: tuple[str, ...] = ()
    below_control: tuple[str, ...] = ()
    fixes: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    draws: int = 0
    steps: int = 0
    best_step: int = 0
    seconds: float = 0.0
    numbers: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


class Clinic:
    """One sick model with what its owner has; what treatments share is done once, when it is first asked for.

    Args:
        energy: The model; it stays as it is.
        training: What the owner trained on.
        heldout: What the proof is measured on.
        base: The owner's recipe, as the command is told it.
        log: What was measured of the log of the owner's training, as ``--run`` does.

    Raises:
        EnergydiagError: The batches overlap.
    """

    def __init__(
        self,
        energy: EnergyFunction,
        training: Batch,
        heldout: Batch,
        base: TrainingPlan,
        log: tuple[Measurement, ...] = (),
    ) -> None:
        check_apart(training, heldout)
        self.energy, self.base, self.log = energy, base, log
        self.training, self.heldout = (batch.select(usable(batch)) for batch in (training, heldout))

    @functools.cached_property
    def examined(self) -> Examined:
        """What the plan is made from."""
        return examine(self.energy, self.training, RepairOptions(self.base, log=self.log))

    @functools.cached_property
    def before(self) -> Diagnosis:
        """The sick model on the held-out samples."""
        return inspect(self.energy, self.heldout, tau=self.base.tau, seed=self.base.seed)

    @functools.cached_property
    def control(self) -> Arm:
        """Trained as long, without any fix."""
        return self.workshop.arm(CONTROL, replace(self.base, guarded=False))

    @functools.cached_property
    def workshop(self) -> Workshop:
        """Where arms are trained."""
        training, validation = split_by_episode(self.training, VALIDATION_FRACTION, self.base.seed)
        bench = Bench(
            self.energy,
            self.examined.anatomy,
            training,
            validation,
            None,
            False,
            lambda _step: None,
            proof_names(self.heldout),
        )
        return Workshop(bench, Crew(Ranks.current()), self.heldout, self.base.seed)

    def outcome(self, treatment: str, planned: Planned) -> Outcome:
        """Trains what was planned, and judges it.

        Raises:
            EnergydiagError: The plan cannot be carried out on this model or these samples.
        """
        arm = self.workshop.arm("after", planned.plan)
        # with no step to train, the control is the sick model as it was
        control = self.control.diagnosis if planned.plan.steps else self.before
        told = self._judged(treatment, arm, control)
        return replace(told, fixes=tuple(a.fix for a in planned.applied), steps=planned.plan.steps)

    def control_outcome(self) -> Outcome:
        """The control against the sick model, in the place of itself as well."""
        told = self._judged(CONTROL, self.control, self.before)
        return replace(told, than_control=(), below_control=(), steps=self.base.steps)

    def _judged(self, treatment: str, arm: Arm, control: Diagnosis) -> Outcome:
        names = proof_names(self.heldout)
        against_before, against_control = (_beside(first, arm, names) for first in (self.before, control))
        idle = indifferent(self.before, names)
        facts = {
            "after": arm.diagnosis,
            "diverged": arm.outcome is not None and arm.outcome.stopped == "non-finite",
            "lost": lost(self.before, arm.diagnosis, names),
            "indifferent": idle,
        }
        verdict, reasons = judge_repair(against_before, against_control, **facts)
        alone, _ = judge_repair(against_before, against_before, **facts)
        return Outcome(
            treatment=treatment,
            verdict=verdict,
            accepted=verdict in ("healed", "improved"),
            recovered=alone in ("healed", "improved"),
            harmed=tuple(name for name in _named(against_before, "regressed") if name not in idle),
            improved=_named(against_before, "improved"),
            than_control=_named(against_control, "improved"),
            below_control=_named(against_control, "regressed"),
            reasons=reasons + unkept([arm]),
            best_step=arm.outcome.best_step if arm.outcome else 0,
            numbers=proof_numbers(arm.diagnosis, names),
        )


def treated(clinic: Clinic, name: str) -> dict[str, Outcome]:
    """Every treatment of one model, by its name.

    Args:
        clinic: The model.
        name: Of the run; decides which fixes are drawn.
    """
    acts: dict[str, Callable[[], Outcome]] = {
        CONTROL: clinic.control_outcome,
        AUTO: lambda: automatic(clinic),
        RANDOM: lambda: drawn(clinic, shuffled(name)),
    }
    return {treatment: _timed(treatment, act) for treatment, act in acts.items()}


def automatic(clinic: Clinic) -> Outcome:
    """What ``--fix auto --run LOG`` does."""
    planned = plan_repair(clinic.energy, clinic.training, clinic.examined, RepairOptions(clinic.base))
    if planned.applied:
        return clinic.outcome(AUTO, planned)
    return Outcome(AUTO, NOTHING_PLANNED, reasons=tuple(f"{s.name}: {s.reason}" for s in planned.skipped))


def drawn(clinic: Clinic, names: Sequence[str]) -> Outcome:
    """What ``--fix NAME`` does, with the first of these names that can be applied."""
    refusals = []
    for draws, name in enumerate(names, 1):
        planned = plan_from(clinic.examined.patient, clinic.base, (name,))
        if planned.applied:
            try:
                return replace(clinic.outcome(RANDOM, planned), draws=draws)
            except EnergydiagError as error:
                refusals.append(f"{name}: {first_line(error)}")
        refusals += [f"{skipped.name}: {skipped.reason}" for skipped in planned.skipped]
    return Outcome(RANDOM, NOTHING_PLANNED, reasons=tuple(refusals), draws=len(names))


def shuffled(name: str) -> list[str]:
    """All fixes in the order in which they are drawn for a run of this name."""
    every = sorted(fixes())
    random.Random(f"fix for {name}").shuffle(every)
    return every


def _beside(first: Diagnosis, arm: Arm, names: Sequence[str]) -> Changes:
    return compare(first, arm.diagnosis, ("before", "after"), names)


def proof_numbers(diagnosis: Diagnosis, names: Sequence[str]) -> dict[str, float]:
    """The numbers that a repair is judged on, by name."""
    found = {name: diagnosis.measurement(name) for name in names}
    return {name: round(m.value, 5) for name, m in found.items() if m is not None}


def _named(comparison: Changes, verdict: str) -> tuple[str, ...]:
    return tuple(m.name for m in comparison.metrics if m.verdict == verdict)


def _timed(treatment: str, act: Callable[[], Outcome]) -> Outcome:
    began = time.process_time()
    try:
        told = act()
    except EnergydiagError as error:
        told = Outcome(treatment, REFUSED, reasons=(first_line(error),))
    except Exception as error:  # whatever goes wrong is a result
        told = Outcome(treatment, FAILED, reasons=(f"{type(error).__name__}: {first_line(error)}",))
    return replace(told, seconds=round(time.process_time() - began, 2))
