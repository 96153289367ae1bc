"""What the rules could not answer, as open questions: each with what is missing and what would answer it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from energydiag.results import Measurement, Open, Severity, Skipped
from energydiag.rules.rule import Judgement, Rule

_MORE_SAMPLES = "a dump with more samples, of 20 episodes or more"
_RANK: Mapping[Severity | None, int] = {None: 0, "warning": 1, "critical": 2}


def doubt(rule: Rule, given: Mapping[str, Measurement], judgement: Judgement | None) -> Open | None:
    """The question that a rule leaves open; None where it is answered.

    It is open where an average has no interval, for want of episodes, and where the numbers alone would say worse than
    their intervals allow.

    Args:
        rule: Which one.
        given: The measurements that it reads.
        judgement: What it says of them.
    """
    unsure = [name for name in rule.needs if given[name].unsure]
    if judgement is not None and unsure:
        missing = f"{unsure[0]} is an average over too few episodes for an interval; as it is: {judgement.summary}"
        return _question(rule, missing, judgement.severity)
    alone = rule.judge({name: replace(m, ci95=None) for name, m in given.items()})
    if alone is None or _severity(alone) <= _severity(judgement):
        return None
    return _question(
        rule, f"the 95 % interval crosses the limit; the number alone says: {alone.summary}", alone.severity
    )


def _severity(judgement: Judgement | None) -> int:
    return _RANK[judgement.severity if judgement else None]


def _question(rule: Rule, missing: str, could_be: Severity) -> Open:
    return Open(f"{rule.code} {rule.name}", missing, _MORE_SAMPLES, could_be, rule.code)


def few_episodes(unsure: Sequence[Measurement], already: Iterable[Open]) -> Iterable[Open]:
    """One question for all averages that have no interval, where no rule has asked it."""
    if unsure and not any(one.could_be == "critical" for one in already):
        missing = f"{unsure[0].name} and {len(unsure) - 1} more averages are over fewer than 4 episodes"
        yield Open("Do these numbers hold beyond these few episodes?", missing, _MORE_SAMPLES)


def failed(skipped: Iterable[Skipped], rules: Iterable[Rule]) -> Iterable[Open]:
    """Measurements that should have been possible and were not, together where the reason is the same."""
    read = {name for rule in rules for name in rule.needs}
    by_reason: dict[str, list[str]] = {}
    for one in skipped:
        if one.failed:
            by_reason.setdefault(one.reason, []).append(one.name)
    for reason, names in by_reason.items():
        # a probe that failed takes all of its measurements with it; one of many is less
        whole = any("." not in name for name in names)
        could_be: Severity | None = "critical" if whole else "warning" if read.intersection(names) else None
        does, they = ("does", "it") if len(names) == 1 else ("do", "they")
        question, missing = f"What {does} {', '.join(names)} say?", f"{they} could not be measured: {reason}"
        yield Open(question, missing, "a model and samples that allow it", could_be)
