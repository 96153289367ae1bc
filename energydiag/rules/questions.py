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
    """Measurements that should have been possible and were not."""
    read = {name for rule in rules for name in rule.needs}
    for one in skipped:
        if one.failed:
            # a probe that failed takes all of its measurements with it; one of many is less
            could_be: Severity | None = "critical" if "." not in one.name else "warning" if one.name in read else None
            yield Open(
                f"What is {one.name}?", f"it could not be measured: {one.reason}", "a model that allows it", could_be
            )
