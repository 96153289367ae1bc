"""What a plan needs of the training samples: told before the first step, in words."""

from __future__ import annotations

from energydiag.batch import Batch
from energydiag.errors import UsageError
from energydiag.negatives.source import sources
from energydiag.plan import TrainingPlan


def check_needs(plan: TrainingPlan, batch: Batch, validation: Batch | None, processes: int = 1) -> None:
    """Raises UsageError where the plan cannot be carried out on these samples by so many processes."""
    if len(batch) < 1 or (validation is not None and len(validation) < 2):
        raise UsageError("Training needs at least one sample, validation two.", "give a dump with more samples.")
    size = min(plan.batch_size, len(batch))
    if size % processes:
        possible = size // processes * processes
        raise UsageError(
            f"{size} contexts a step cannot be shared out equally among {processes} processes.",
            f"use --batch-size {possible}." if possible else "start fewer processes.",
        )
    known = sources()
    for name in plan.sources:
        if name not in known:
            raise UsageError(f"There is no source of negatives {name!r}.", f"choose among {', '.join(known)}.")
        reason = known[name].lacks(batch)
        if reason:
            raise UsageError(
                f"The plan wants the negatives `{name}`, but {reason}.",
                f"dump it, or leave the fix out that mixes `{name}` in.",
            )
    mixes = bool(plan.sources) or plan.improved_negatives or plan.descent is not None
    if not mixes and (not plan.swap or size < 2):
        raise UsageError(
            "The plan has no negatives at all: "
            + ("one sample a step" if plan.swap else "swap negatives are off")
            + ".",
            "raise the batch size, or mix in negatives of a source.",
        )
    weights = {"alignment": plan.alignment, "ranking": plan.ranking, "margin": plan.margin}
    idle = [name for name, weight in weights.items() if weight > 0]
    if idle and not mixes:
        raise UsageError(
            f"The plan's {' and '.join(idle)} loss acts on mixed-in actions, and none are mixed in.",
            "mix in negatives of a source, such as `noise`.",
        )
