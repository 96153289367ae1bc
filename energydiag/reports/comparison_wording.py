"""What every format says of a comparison in the same words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from energydiag.metrics import IN_WORDS
from energydiag.reports.wording import config_line, interval, short
from energydiag.results import Comparison, Limit, MetricChange, Ranking
from energydiag.results.changes import NO_DIRECTION, Change

_HEADLINES: Mapping[Change, tuple[str, str]] = {
    "improved": ("", " is better than "),
    "regressed": ("", " is worse than "),
    "mixed": ("", " is better in some numbers and worse in others than "),
    "unchanged": ("", " does not differ in what matters from "),
    "inconclusive": ("too little is known to tell ", " from "),
    "incomparable": ("", " cannot be compared with "),
}
_ORDER: tuple[Change, ...] = ("regressed", "mixed", "improved", "inconclusive", "incomparable", "unchanged")
_METRICS_NAMED = 6
_NAMED = 3
"""Sides that a headline names; more are counted."""


def compared_headline(compared: Comparison) -> str:
    """First line: which side is how against the first; in which numbers, where some are better and some worse."""
    others = [side.name for side in compared.sides[1:]]
    same = [side for side in others if compared.outcome(side).verdict == compared.verdict]
    if compared.verdict == "mixed" and same:
        more = f" ({len(same) - 1} more mixed)" if len(same) > 1 else ""
        return f"MIXED: {ups_and_downs(compared, same[0])} ({same[0]} against {first_name(compared)}){more}"
    before, between = _HEADLINES[compared.verdict]
    named = ", ".join(same or others)
    who = named if len(same or others) <= _NAMED else f"{len(same or others)} of {len(others)}"
    return f"{compared.verdict.upper()}: {before}{who or 'nothing'}{between}{first_name(compared)}"


def ups_and_downs(compared: Comparison, side: str) -> str:
    """In which numbers a side is better, and in which it is worse."""
    found = []
    for verdict, word in (("improved", "better"), ("regressed", "worse")):
        names = [m.name for m in compared.judged if side_of(m) == side and m.verdict == verdict]
        rest = f" and {len(names) - _METRICS_NAMED} more" if len(names) > _METRICS_NAMED else ""
        found.append(f"{word} in {', '.join(names[:_METRICS_NAMED])}{rest}")
    return "; ".join(found)


def reason_lines(compared: Comparison) -> list[str]:
    """What decided a verdict, or leaves it open, beside the numbers; the first few sides that have such a reason."""
    told = [one for one in compared.outcomes if one.reason]
    several = len(compared.sides) > 2
    return [f"{f'{one.side}: ' if several else ''}{sentence(one.reason)}" for one in told[:_NAMED]]


def sentence(text: str) -> str:
    """With a full stop."""
    return text if text.endswith((".", ")", "!", "?")) else f"{text}."


def energy_lines(compared: Comparison) -> list[str]:
    """Energies, their gap and the gradient norm in so many words, where both sides have them; a line for each side."""
    return [line for side in compared.sides[1:] if (line := _energies(compared, side.name))]


def _energies(compared: Comparison, side: str) -> str:
    rows = {m.name: m for m in compared.judged if side_of(m) == side and m.name in IN_WORDS}
    parts = [
        f"{IN_WORDS[name]} {short(first_value(m) or 0.0)} and {short(second_value(m) or 0.0)}{_told(m)}"
        for name, m in sorted(rows.items(), key=lambda item: list(IN_WORDS).index(item[0]))
    ]
    return f"{first_name(compared)} and {side}: {', '.join(parts)}." if parts else ""


def _told(metric: MetricChange) -> str:
    """The verdict behind a value, where it has one."""
    return "" if metric.better == "none" else f" ({metric.verdict})"


def first_name(compared: Comparison) -> str:
    """What the first side is called."""
    return compared.sides[0].name if compared.sides else "the first"


def side_of(metric: MetricChange) -> str:
    """The side that is compared with the first."""
    return metric.side


def first_value(metric: MetricChange) -> float | None:
    """The number of the first side, where there are two."""
    return next(iter(metric.values.values())) if len(metric.values) > 1 else None


def second_value(metric: MetricChange) -> float | None:
    """The number of the other side."""
    return list(metric.values.values())[-1] if metric.values else None


def side_verdict(compared: Comparison, side: str) -> Change:
    """Of one side, by its numbers and by its state."""
    return compared.outcome(side).verdict


def changed(metrics: Iterable[MetricChange]) -> list[MetricChange]:
    """Those that tell something: neither unchanged, nor without a direction."""
    return [m for m in metrics if m.verdict != "unchanged" and m.reason != NO_DIRECTION]


def left_out(metrics: Sequence[MetricChange]) -> str:
    """What is not shown where only changes are; empty where nothing is."""
    same = sum(m.verdict == "unchanged" for m in metrics)
    idle = len(metrics) - len(changed(metrics)) - same
    parts = [f"{same} unchanged"] * bool(same) + [f"{idle} in which neither direction is better"] * bool(idle)
    return f"Not shown: {', '.join(parts)} (--details)." if parts else ""


def count_line(compared: Comparison, side: str) -> str:
    """How many numbers of a side did what."""
    own = (m for m in compared.judged if side_of(m) == side and m.reason != NO_DIRECTION)
    counted = Counter(m.verdict for m in own)
    return ", ".join(f"{counted[verdict]} {verdict}" for verdict in _ORDER if counted[verdict]) or "nothing in common"


def side_lines(compared: Comparison) -> list[tuple[str, str]]:
    """Every side with its files, the first one marked; before them, what a config file has set."""
    lines = [("config", told)] if (told := config_line(compared.provenance)) else []
    for place, side in enumerate(compared.sides):
        files = ", ".join(path for path in side.paths[:4] if path != side.name)
        more = f" and {len(side.paths) - 4} more" if len(side.paths) > 4 else ""
        told = "what the others are compared with" if place == 0 else count_line(compared, side.name)
        lines.append((side.name, f"{told}{f'; {files}{more}' if files else ''}"))
    return lines


def change_columns(compared: Comparison, metrics: Sequence[MetricChange]) -> list[str]:
    """Titles of the table of changes; columns that would be empty are left out."""
    columns = ["metric"]
    columns += ["at"] if any(m.at for m in metrics) and len({m.at for m in metrics}) > 1 else []
    columns += ["side"] if len(compared.sides) > 2 else []
    columns += ["first", "other", "change", "95 % interval"]
    columns += ["p"] if any(m.p is not None for m in metrics) else []
    return [*columns, "better", "verdict", *(["why"] if any(m.reason for m in metrics) else [])]


def change_cells(metric: MetricChange, columns: Iterable[str]) -> list[str]:
    """One row of the table of changes."""
    first, second = first_value(metric), second_value(metric)
    cells = {
        "metric": metric.name,
        "at": metric.at,
        "side": side_of(metric),
        "first": "" if first is None else short(first),
        "other": "" if second is None else short(second),
        "change": short(metric.delta),
        "95 % interval": interval(metric),
        "p": "" if metric.p is None else short(metric.p),
        "better": "" if metric.better == "none" else metric.better,
        "verdict": metric.verdict,
        "why": metric.reason,
    }
    return [cells[column] for column in columns]


def in_lines(name: str, width: int) -> str:
    """A long name in lines, broken behind dots and underscores where it has any."""
    lines = [""]
    for part in re.findall(r"[^._]*[._]|[^._]+", name):
        lines = [*lines[:-1], lines[-1] + part] if len(lines[-1]) + len(part) <= width else [*lines, part]
    return "\n".join(line for line in lines if line)


def ranked(ranking: Ranking) -> str:
    """All sides of a ranking, the best first."""
    return " > ".join(f"{side} ({short(value)})" for side, value in ranking.values.items())


def limit_line(limit: Limit) -> str:
    """What was allowed and what came."""
    how = "worse" if limit.worse_by >= 0 else "better"
    return f"{limit.side}: {how} by {short(abs(limit.worse_by))}, allowed {limit.allowed}: {limit.verdict}"


def elsewhere(compared: Comparison) -> list[MetricChange]:
    """Changes at other places than the one that the verdict rests on."""
    return [m for m in compared.metrics if m.at != compared.at]


def at_line(compared: Comparison) -> str:
    """Where in the runs the verdict was taken."""
    return f"Changes ({compared.at})" if compared.at else "Changes"
