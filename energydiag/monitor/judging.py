"""What the rules for training logs say of a run that is not over yet.

They were made for whole logs. On a growing one, a finding is believed that was made at three looks in a row, and only
once there are enough looks for a trend; a loss that is not finite is believed at once. Looks at which the rules are
asked lie further and further apart, a tenth of the run at most, so that judging a long run does not cost more and more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from energydiag.monitor.history import MARK, History
from energydiag.results import Finding, Severity
from energydiag.rules import judge
from energydiag.rules.rule import rules
from energydiag.runs import Told, limits_of, measure_run
from energydiag.runs.names import LOSSES
from energydiag.runs.trends import LEAST

FAMILY = "ED7"
_AT_ONCE = frozenset({"ED703"})
_BELIEVED = 3
"""Looks in a row at which a finding has to be made (a guess: one is an accident, and so may be two)."""

_APART = 1.1
"""By how much a run has grown since it was judged last (a guess)."""

_SEVERITIES: Mapping[str, tuple[Severity, ...]] = {"critical": ("critical",), "warning": ("critical", "warning")}

Wanted = Sequence[str] | str | None
"""Severities or codes of findings: ``"critical"``, ``"warning"`` (and worse), or codes or their beginnings."""


def checked_wanted(wanted: Wanted) -> tuple[str, ...]:
    """Severities and codes as a tuple.

    Raises:
        ValueError: One of them is neither.
    """
    names = (wanted,) if isinstance(wanted, str) else tuple(wanted or ())
    for name in names:
        known = name in _SEVERITIES or (name.startswith(FAMILY) and any(code.startswith(name) for code in rules()))
        if not known:
            raise ValueError(name)
    return names


def is_wanted(finding: Finding, wanted: Iterable[str]) -> bool:
    """Whether a finding is one of those that are asked for."""
    return any(finding.severity in _SEVERITIES.get(name, ()) or finding.code.startswith(name) for name in wanted)


class Judge:
    """Asks the rules again and again.

    Args:
        told: What is known of the run besides its log.
    """

    def __init__(self, told: Told) -> None:
        self._told = told
        self._looks = 0
        self._next = LEAST
        self._broken = 0
        self._in_a_row: Counter[str] = Counter()

    def findings(self, history: History, config: Mapping[str, str]) -> tuple[Finding, ...]:
        """What is believed now; nothing at looks at which the rules are not asked."""
        self._looks += 1
        log = history.run_log(config)
        losses = [log.series[name] for name in LOSSES if name in log.series]
        if not losses or MARK not in history.names:
            return ()
        broken = sum(int((~np.isfinite(series.value)).sum()) for series in losses)
        if self._looks < self._next and broken == self._broken:
            return ()
        self._broken = broken
        self._next = max(self._looks + 1, int(np.ceil(self._looks * _APART)))
        limits = limits_of(log, self._told)
        answer = measure_run(log, limits)
        found = judge(answer.measurements, (FAMILY,), objective=limits.objective.objective).findings
        codes = {finding.code for finding in found}
        self._in_a_row = Counter({code: self._in_a_row[code] + 1 for code in codes})
        enough = self._looks >= LEAST
        return tuple(f for f in found if f.code in _AT_ONCE or (enough and self._in_a_row[f.code] >= _BELIEVED))
