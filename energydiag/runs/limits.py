"""What a run was trained with, and between which losses it therefore moves: chance, and the floor of the head's range.

What decides them is in the run's settings, is given by the user, or is inferred from the log; each is said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from energydiag.errors import UsageError
from energydiag.heads import head_form
from energydiag.objectives import Chance, Clues, Inferred, Setting, candidates_of, infer, objective_named
from energydiag.runs.log import RunLog, Series
from energydiag.runs.names import LOSSES
from energydiag.runs.trends import tail

_STARTS_WITHIN = 0.05
"""Share of the run's steps before its first point up to which a log begins at the beginning (heuristic)."""

_ENDS_WITHIN = 0.02
"""Share of the usual chance within which a log ends there, though it began at another one (heuristic)."""

_LARGEST_EXPONENT = 5.0
"""A logged scale below this may be the logarithm of the scale: CLIP starts at log 14.3 = 2.66 and clamps at log 100."""


@dataclass(frozen=True)
class Told:
    """What the user says of the run; None: as its settings say.

    Attributes:
        batch_size: Contexts per step; the others' actions are the negatives.
        negatives: Negatives per context, all of them.
        head: Kind of the head.
        tau: Temperature.
        objective: Name of the objective.
    """

    batch_size: int | None = None
    negatives: int | None = None
    head: str | None = None
    tau: float | None = None
    objective: str | None = None


@dataclass(frozen=True)
class Limits:
    """What the loss of a run can be.

    Attributes:
        objective: What it was trained with, and how that is known.
        chance: Loss of a model that cannot tell positives from negatives; None where it is not known.
        floor: The lowest loss that a head of this range reaches; 0 for one without an end; None where N, R or τ is not
            known.
        negatives: N, or None.
        negatives_told: Whether N is told, or the loss begins at the logarithm of a power of two; else N is only what
            the first loss would fit.
        head: Kind of the head, as the settings or the user name it, or None.
        tau: τ, or None.
        clip_norm: Largest gradient norm by the settings; None where they tell none.
        from_start: Whether the log begins at the beginning of the training.
        facts: What is known, in words.
        unknown: What is not known, and how to tell it.
    """

    objective: Inferred
    chance: Chance | None
    floor: float | None
    negatives: int | None
    head: str | None
    tau: float | None
    clip_norm: float | None
    from_start: bool
    facts: tuple[str, ...] = field(default=())
    unknown: tuple[str, ...] = field(default=())
    negatives_told: bool = True


def limits_of(log: RunLog, told: Told) -> Limits:
    """The limits of a run.

    Raises:
        UsageError: What the user says cannot be.
    """
    _check(told)
    config = log.config
    negatives, why = _negatives(config, told)
    head = told.head or _head(config) or ("cosine" if "logit_scale" in log.series else None)
    tau = _tau(log, told)
    reach = _reach(head)
    setting = Setting(
        negatives=negatives,
        batch_size=told.batch_size or _whole(_number(config, *_BATCH_SIZES)),
        reach=None if reach is None or (tau is None and math.isfinite(reach)) else reach / (tau or 1.0),
        cosine=head == "cosine",
        margin=_number(config, "margin"),
    )
    clues = replace(clues_of(log, setting), softmax=_softmax_setting(config, told, tau))
    found = infer(told.objective, config, clues)
    own_loss = config.get("contrast") not in ("decoupled", "debiased")
    chance = _chance(found, setting, clues, log) if own_loss else None
    is_power = chance is not None and bool(chance.negatives) and _is_power_of_two((chance.negatives or 0) + 1)
    sure = negatives is not None or is_power
    if not own_loss:
        negatives, why = None, f"the {config['contrast']} loss has other limits than InfoNCE"
    if chance is not None and chance.negatives:
        negatives = chance.negatives
        setting = replace(setting, negatives=negatives)
    floor = found.objective.floor(setting) if chance is not None else None
    facts = [f"{found.objective.title} ({found.how})"] if found.is_known or found.fitting else []
    facts += [] if negatives is None else [f"{negatives} negative{'' if negatives == 1 else 's'}"]
    facts += [] if chance is None else [f"chance {chance.value:.4g} ({chance.formula})"]
    facts += [] if reach is None else [f"{head} head"]
    facts += [] if tau is None else [f"τ {tau:.3g}"]
    clip = _number(config, "clip_norm", "max_grad_norm", "gradient_clip_val", "grad_clip")
    unknown = tuple(_unknown(found, chance, why, head, reach, tau))
    return Limits(found, chance, floor, negatives, head, tau, clip, starts(log), tuple(facts), unknown, sure)


def _is_power_of_two(number: int) -> bool:
    return number & (number - 1) == 0


def starts(log: RunLog) -> bool:
    """Whether the log begins at the beginning: its first step is among the first twentieth, or the first few points."""
    series = objective_series(log)
    if series is None or len(series) < 2:
        return True
    spacing = float(series.step[1] - series.step[0])
    return float(series.step[0]) <= max(_STARTS_WITHIN * float(series.step[-1]), 2 * spacing, 1.0)


def objective_series(log: RunLog) -> Series | None:
    """The series that is taken for the objective, with what is not finite in it."""
    return next((log.series[name] for name in LOSSES if name in log.series), None)


def clues_of(log: RunLog, setting: Setting) -> Clues:
    """What a log shows of its objective."""
    series, top1 = objective_series(log), log.finite("top1")
    finite = None if series is None else series.finite()
    if not finite:
        return Clues(log.names, log.unread, setting=setting)
    begins = starts(log)
    late = finite.value[-max(3, len(finite) // 20) :]
    return Clues(
        log.names,
        log.unread,
        first=float(finite.value[0]) if begins else None,
        last=float(finite.value[-1]),
        lowest=float(finite.value.min()),
        top1=float(top1.value[0]) if top1 and begins else None,
        setting=setting,
        constant_end=len(finite) > 3 and bool((late == late[0]).all()),
    )


def _softmax_setting(config: Mapping[str, str], told: Told, tau: float | None) -> str:
    """A setting that is known and that only a softmax over negatives has; empty where there is none."""
    known = (
        ("a head", told.head or _head(config)),
        ("a temperature", tau),
        ("a number of negatives", told.negatives),
    )
    return next((f"{what} is known" for what, value in known if value is not None), "")


def _chance(found: Inferred, setting: Setting, clues: Clues, log: RunLog) -> Chance | None:
    """The chance that the run's first loss, or the constant that it ends at, fits; else the objective's usual one."""
    if (initial := log.finite("initial_loss")) and "final_loss" in log.series:
        return Chance(float(tail(initial).value.mean()), "the loss at step 0 of the descent")
    known = found.objective.chances(setting)
    if not known and found.objective.name == "infonce" and clues.first is not None:
        candidates = candidates_of(clues.first)
        if candidates > 2 and clues.starts_at(math.log(candidates), 0.01):
            return Chance(math.log(candidates), f"log {candidates}, where the loss begins", candidates - 1)
    within, first = found.objective.starts_within, clues.first
    if within is not None and first is not None:
        known = tuple(one for one in known if one.value / within < first < one.value * within)
    fits = [one for one in known if clues.starts_at(one.value)]
    if not found.objective.starts_at_chance:  # only a constant end shows which of several values it is
        ends = [one for one in known if clues.constant_end and math.isclose(clues.last or 0.0, one.value, rel_tol=1e-3)]
        return next(iter(ends), known[0] if len(known) == 1 else None)
    if known and clues.last is not None and abs(clues.last - known[0].value) <= _ENDS_WITHIN * known[0].value:
        return known[0]  # whatever it began at, it ends at the usual one
    return next(iter((*fits, *known)), None)


def _unknown(
    found: Inferred, chance: Chance | None, why: str, head: str | None, reach: float | None, tau: float | None
) -> list[str]:
    told: list[str] = []
    if found.objective.name != "infonce":
        return told
    if chance is None:
        told.append(f"Chance and floor of the loss are not known: {why}.")
    if reach is None:
        named = "the head is not known" if head is None else f"the range of a head {head!r} is not known"
        told.append(f"The floor of the loss is not known: {named} (--head).")
    if tau is None:
        told.append("The temperature is not known (--tau).")
    return told


def _check(told: Told) -> None:
    if told.objective is not None:
        objective_named(told.objective)
    if told.batch_size is not None and told.batch_size < 1:
        raise UsageError(f"A batch of {told.batch_size} is none.", "give the --batch-size of training.")
    if told.negatives is not None and told.negatives < 1:
        raise UsageError(f"InfoNCE needs a negative at least, not {told.negatives}.", "give the --negatives it had.")
    if told.tau is not None and not (math.isfinite(told.tau) and told.tau > 0):
        raise UsageError(f"The temperature must be a positive number, not {told.tau}.", "use the one of training.")
    if told.head is not None and told.head != "cosine":
        head_form(told.head)


def _reach(head: str | None) -> float | None:
    """Highest minus lowest energy of a head, infinite where there is no upper end; None where it is not known."""
    if head is None:
        return None
    if head == "cosine":
        return 2.0
    try:
        reach = head_form(head).activation.energy_range
    except UsageError:
        return None
    return math.inf if reach is None else reach


_BATCH_SIZES = ("batch_size", "train_batch_size", "per_device_train_batch_size", "batch")


def _negatives(config: Mapping[str, str], told: Told) -> tuple[int | None, str]:
    """Negatives per context, or why they are not known."""
    if told.negatives is not None:
        return told.negatives, ""
    size = told.batch_size or _whole(_number(config, *_BATCH_SIZES))
    if size is None:
        return None, "the batch size is not known (--batch-size, or --negatives)"
    if size == 1:
        return 0, "a batch of 1 has no in-batch negatives"
    mixed = [
        name
        for name in ("sources", "improved_negatives", "descent")
        if config.get(name, "null") not in ("[]", "false", "null")
    ]
    if mixed or config.get("swap") == "false":
        reason = f"`{mixed[0]}` mixes in more" if mixed else "other contexts' actions are none of them"
        return None, f"how many negatives there are does not follow from the batch size, {reason} (--negatives)"
    return size - 1, ""


def _whole(number: float | None) -> int | None:
    return None if number is None or number < 1 else int(number)


def _head(config: Mapping[str, str]) -> str | None:
    """The head that was trained: the one that the last surgery made, or the one that the run began with."""
    surgery = config.get("surgery", "")
    made = [part.partition("head=")[2].strip(' ]"') for part in surgery.split(",") if "head=" in part]
    return made[-1] if made else config.get("head")


def _tau(log: RunLog, told: Told) -> float | None:
    if told.tau is not None:
        return told.tau
    logged, scale = log.finite("tau"), log.finite("logit_scale")
    if logged is not None:
        late = float(tail(logged).value.mean())
        return late if late > 0 else None
    if scale is not None:
        late = float(tail(scale).value.mean())
        late = math.exp(late) if float(scale.value.max()) < _LARGEST_EXPONENT else late
        return 1 / late if late > 0 else None
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
