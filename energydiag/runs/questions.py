"""What a training log leaves open: each question with what is missing and what would answer it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from energydiag.results import Finding, Measurement, Open
from energydiag.runs.limits import Limits
from energydiag.runs.log import RunLog
from energydiag.runs.names import RANKINGS
from energydiag.runs.trends import LEAST

REACH = 0.9
"""Part of the logged steps that the loss has to reach to (heuristic)."""

_LEFT_OUT = 0.5
"""Share of the rows that may be left out (heuristic: a resumed run repeats fewer)."""

_UNKNOWN_LEARNED = 1 / 3
"""Share of the first loss below which a loss of an unknown objective shows that something was learned (heuristic)."""

_LATE = 0.5
"""Share of a regression's loss after the first tenths that is gone at the end: more than the mean was learned
(heuristic)."""

_ABOVE_CHANCE = 0.2
"""Part of the way from a ranking's chance to 1 that shows that it was learned (heuristic)."""

_RISE = 0.1
"""Rise of a ranking whose chance is not known that shows that it was learned (heuristic)."""

_CHECKPOINT = "energydiag inspect checkpoint CHECKPOINT --batch DUMP"


def questions(
    log: RunLog, limits: Limits, measurements: Iterable[Measurement], findings: Iterable[Finding]
) -> Iterable[Open]:
    """The open questions of a run.

    Args:
        log: The log.
        limits: What its loss can be.
        measurements: Of this log.
        findings: What was found in it.
    """
    known = {m.name: m for m in measurements}
    count = _count(known)
    if count < LEAST:
        missing = f"the log has {count} point{'' if count == 1 else 's'} where {LEAST} at least show a trend"
        yield Open("Where is this training going?", missing, "a log with more rows")
    if (early := loss_ends_early(known)) is not None:
        yield Open("What did the loss do until the end of the run?", early, "a log with the loss up to the last step")
    left_out = known.get("run.left_out")
    if left_out is not None and left_out.value > _LEFT_OUT:
        missing = f"{left_out.value:.0%} of the rows with a loss were left out: no step, or the step of another row"
        yield Open(
            "What do the rows say that were left out?", missing, "--map step=NAME, or a log with a step in each row"
        )
    broken = any(finding.severity == "critical" for finding in findings)
    if count >= LEAST and not broken and not learned(limits, known):
        yield _ranking(limits, known)
    yield from _minor(log, limits, known)


def _count(known: Mapping[str, Measurement]) -> int:
    """Steps with a loss, or logged steps where there is none."""
    points = known.get("run.points")
    return int(points.value) if points else known["run.steps"].n


def loss_ends_early(known: Mapping[str, Measurement]) -> str | None:
    """Where the loss ends long before other series do, that in words; None where it does not."""
    reach = known.get("run.objective.reach")
    if reach is None or reach.value >= REACH:
        return None
    return (
        f"the loss has no value after {reach.value:.0%} of the logged steps, where others go on: it became NaN and "
        "was exported as empty cells, or was logged no longer"
    )


def learned(limits: Limits, known: Mapping[str, Measurement]) -> bool:
    """Whether the log itself shows that the model learned something: by its loss, a ranking, or the gap."""
    last, first = known.get("run.objective.last"), known.get("run.objective.first")
    objective = limits.objective.objective
    if last is not None and objective.learned is not None:
        reference = limits.chance.value if limits.chance else first.value if first else None
        share = objective.learned if objective.name else min(objective.learned, _UNKNOWN_LEARNED)
        if reference is not None and last.value <= share * reference:
            return True
    late = known.get("run.objective.late_fall")
    went_on = objective.name == "regression" and late is not None and late.value > _LATE
    return went_on or any(_ranks(known, name) for name in RANKINGS) or _separates(known)


def _ranks(known: Mapping[str, Measurement], name: str) -> bool:
    last, chance = known.get(f"run.{name}.last"), known.get(f"run.{name}.chance")
    if last is None:
        return False
    if chance is not None:
        return last.value > chance.value + _ABOVE_CHANCE * (1 - chance.value)
    return last.value > 0.5 or last.value > known[f"run.{name}.first"].value + _RISE


def _separates(known: Mapping[str, Measurement]) -> bool:
    gap = known.get("run.gap.last")
    return gap is not None and gap.ci95 is not None and gap.ci95[0] > 0


def _ranking(limits: Limits, known: Mapping[str, Measurement]) -> Open:
    """Whether anything was learned, where neither the loss nor a ranking shows it."""
    last, first = known.get("run.objective.last"), known.get("run.objective.first")
    told = "no loss was logged" if last is None else f"the loss ends at {last.value:.4g}"
    if last is not None and limits.chance is not None:
        told += f" where chance is {limits.chance.value:.4g}"
    elif first is not None:
        told += f" and began at {first.value:.4g}; which loss a model without any separation would have is not known"
    elif last is not None:
        told += "; the log does not begin at the beginning"
    what = [name.replace("_", " ") for name in RANKINGS if f"run.{name}.last" in known]
    told += (
        f"; {', '.join(what)} is not clear either" if what else "; no top-1 accuracy, recall, AUROC or gap was logged"
    )
    options = []
    if not limits.objective.is_known:
        options.append("--objective NAME")
    if limits.chance is None and limits.objective.objective.name in ("infonce", ""):
        options.append("--batch-size N")
    answer = f"top-1 accuracy or the energy gap in the log, or {_CHECKPOINT}"
    return Open(
        "Did this run learn to rank?", told, "; or ".join([", ".join(options), answer] if options else [answer])
    )


def _minor(log: RunLog, limits: Limits, known: Mapping[str, Measurement]) -> Iterable[Open]:
    """Questions that do not change the verdict of a log that answers the others."""
    if limits.objective.fitting:
        missing = f"{', '.join(limits.objective.fitting)} fit ({limits.objective.how})"
        yield Open("Which objective is this?", missing, "--objective NAME", None)
    elif not limits.objective.is_known:
        yield Open("Which objective is this?", limits.objective.how, "--objective NAME", None)
    held_out = any(name.startswith("validation") for name in log.series)
    if not held_out:
        yield Open(
            "Does it hold on samples that it was not trained on?",
            "no validation loss and no held-out ranking was logged",
            f"{_CHECKPOINT} of held-out episodes",
            None,
        )
    if not limits.from_start:
        missing = f"the log begins at step {known['run.first_step'].value:.10g}"
        yield Open(
            "How did this training begin?", missing, "the log of the steps before; compare the end with chance", None
        )
