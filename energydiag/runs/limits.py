"""Between which losses a run moves: chance, and the floor that the head's range sets.

What decides them stands in the run's settings or is told by the user: negatives, head, temperature.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from energydiag.errors import UsageError
from energydiag.heads import head_form
from energydiag.runs.log import RunLog
from energydiag.runs.trends import tail


@dataclass(frozen=True)
class Told:
    """What the user says of the run; None: as its settings say.

    Attributes:
        batch_size: Contexts per step; the others' actions are the negatives.
        negatives: Negatives per context, all of them.
        head: Kind of the head.
        tau: Temperature.
    """

    batch_size: int | None = None
    negatives: int | None = None
    head: str | None = None
    tau: float | None = None


@dataclass(frozen=True)
class Limits:
    """What InfoNCE can be.

    Attributes:
        chance: Of a model that cannot tell, ``log(1 + N)``; None where N is not known.
        floor: ``log(1 + N·exp(−R/τ))``, the lowest that a head of range R reaches; 0 for one without an end; None
            where N, R or τ is not known.
        negatives: N, or None.
        head: Kind of the head, as the settings or the user name it, or None.
        tau: τ, or None.
        clip_norm: Largest gradient norm by the settings; None where they tell none.
        facts: What is known, in words.
        unknown: What is not known, and how to tell it.
    """

    chance: float | None
    floor: float | None
    negatives: int | None
    head: str | None
    tau: float | None
    clip_norm: float | None
    facts: tuple[str, ...]
    unknown: tuple[str, ...]


def limits_of(log: RunLog, told: Told) -> Limits:
    """The limits of a run.

    Raises:
        UsageError: What the user says cannot be.
    """
    _check(told)
    config = log.config
    negatives, why = _negatives(config, told)
    head = told.head or _head(config)
    tau = _tau(log, told)
    facts, unknown = [], []
    if config.get("contrast", "joint") != "joint":
        negatives, why = None, f"the {config['contrast']} loss has other limits than InfoNCE"
    if negatives is None:
        unknown.append(f"Chance and floor of the loss are not known: {why}.")
    else:
        facts.append(f"{negatives} negatives")
    reach = _reach(head)
    if reach is None:
        named = "the head is not known" if head is None else f"the range of a head {head!r} is not known"
        unknown.append(f"The floor of the loss is not known: {named} (--head).")
    else:
        facts.append(f"{head} head")
    if tau is None:
        unknown.append("The temperature is not known (--tau).")
    else:
        facts.append(f"τ {tau:.3g}")
    chance = None if negatives is None else math.log1p(negatives)
    floor = None
    if negatives is not None and reach is not None:
        if math.isinf(reach):
            floor = 0.0
        elif tau is not None:
            floor = math.log1p(negatives * math.exp(-reach / tau))
    clip = _number(config, "clip_norm", "max_grad_norm", "gradient_clip_val", "grad_clip")
    return Limits(chance, floor, negatives, head, tau, clip, tuple(facts), tuple(unknown))


def _check(told: Told) -> None:
    if told.batch_size is not None and told.batch_size < 2:
        raise UsageError(
            f"A batch of {told.batch_size} has no other contexts' actions.", "give the --batch-size of training."
        )
    if told.negatives is not None and told.negatives < 1:
        raise UsageError(f"InfoNCE needs a negative at least, not {told.negatives}.", "give the --negatives it had.")
    if told.tau is not None and not (math.isfinite(told.tau) and told.tau > 0):
        raise UsageError(f"The temperature must be a positive number, not {told.tau}.", "use the one of training.")
    if told.head is not None:
        head_form(told.head)


def _reach(head: str | None) -> float | None:
    """Highest minus lowest energy of a head, infinite where there is no upper end; None where it is not known."""
    if head is None:
        return None
    try:
        reach = head_form(head).activation.energy_range
    except UsageError:
        return None
    return math.inf if reach is None else reach


def _negatives(config: Mapping[str, str], told: Told) -> tuple[int | None, str]:
    """Negatives per context, or why they are not known."""
    if told.negatives is not None:
        return told.negatives, ""
    size = told.batch_size or _number(config, "batch_size", "train_batch_size")
    if size is None or size < 2:
        return None, "the batch size is not known (--batch-size, or --negatives)"
    mixed = [
        name
        for name in ("sources", "improved_negatives", "descent")
        if config.get(name, "null") not in ("[]", "false", "null")
    ]
    if mixed or config.get("swap") == "false":
        reason = f"`{mixed[0]}` mixes in more" if mixed else "other contexts' actions are none of them"
        return None, f"how many negatives there are does not follow from the batch size, {reason} (--negatives)"
    return int(size) - 1, ""


def _head(config: Mapping[str, str]) -> str | None:
    """The head that was trained: the one that the last surgery made, or the one that the run began with."""
    surgery = config.get("surgery", "")
    made = [part.partition("head=")[2].strip(' ]"') for part in surgery.split(",") if "head=" in part]
    return made[-1] if made else config.get("head")


def _tau(log: RunLog, told: Told) -> float | None:
    if told.tau is not None:
        return told.tau
    logged = log.finite("tau")
    if logged is not None:
        late = float(tail(logged).value.mean())
        return late if late > 0 else None
    return _number(log.config, "tau", "temperature")


def _number(config: Mapping[str, str], *names: str) -> float | None:
    """The first of these settings that is a positive number."""
    for name in names:
        try:
            value = float(config[name])
        except (KeyError, ValueError):
            continue
        if math.isfinite(value) and value > 0:
            return value
    return None
