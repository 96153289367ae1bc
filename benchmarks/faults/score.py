"""How often the diagnosis was right: arithmetic on verdicts of runs, free of files and models.

Words as in README.md beside this file.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RESAMPLES = 1000
NOTHING = "none"
"""What a diagnosis without findings calls the root cause."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Named:
    """One finding: its code and its rule's name, and whether it is critical."""

    code: str
    name: str
    critical: bool

    def is_one_of(self, accepted: Iterable[str]) -> bool:
        """Whether the code or the name is accepted."""
        return bool({self.code, self.name} & set(accepted))


@dataclass(frozen=True)
class Verdict:
    """One run: what is true of it, and what the diagnosis says.

    Attributes:
        id: Of the run.
        kind: ``"fault"``, ``"healthy"`` or ``"pair"``.
        truth: What was injected, the names of faults; empty for a control.
        accepted: Codes or names that may stand first, for each fault of `truth`.
        effective: Whether each fault took hold; for a control, one entry: whether it is well.
        found: The findings, root cause first.
        architecture: Of the model.
        part: ``"calibration"`` or ``"test"``.
        failed: Whether there was no diagnosis at all.
    """

    id: str
    kind: str
    truth: tuple[str, ...]
    accepted: tuple[tuple[str, ...], ...]
    effective: tuple[bool, ...]
    found: tuple[Named, ...]
    architecture: str = ""
    part: str = "test"
    failed: bool = False

    @property
    def counts(self) -> bool:
        """Whether everything that should be true of the run is."""
        return all(self.effective)

    @property
    def root(self) -> str:
        """Code of the first finding."""
        return self.found[0].code if self.found else NOTHING

    @property
    def root_is_right(self) -> bool:
        """Whether the first finding is one that the truth accepts."""
        return bool(self.found) and any(self.found[0].is_one_of(codes) for codes in self.accepted)

    def named(self, fault: str) -> bool:
        """Whether any finding is one that is accepted for this fault of the run."""
        codes = self.accepted[self.truth.index(fault)]
        return any(finding.is_one_of(codes) for finding in self.found)


def wilson(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927); all of [0, 1] without trials."""
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    scale = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / scale
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / scale
    return max(0.0, centre - half), min(1.0, centre + half)


def proportion(hits: Iterable[bool]) -> Json:
    """``{"value", "ci95", "n"}`` of a share; the value is None without trials."""
    every = list(hits)
    low, high = wilson(sum(every), len(every))
    value = sum(every) / len(every) if every else None
    return {"value": _rounded(value), "ci95": [_rounded(low), _rounded(high)], "n": len(every)}


def recalls(verdicts: Iterable[Verdict]) -> dict[str, Json]:
    """By fault, over its effective single-fault runs: the share with a finding that is accepted, first or not."""
    return {name: proportion(v.named(name) for v in some) for name, some in _by_fault(verdicts).items()}


def precisions(verdicts: Iterable[Verdict]) -> dict[str, Json]:
    """By code, over the runs whose first finding it is: the share whose truth accepts it. Controls accept none."""
    by_code: dict[str, list[bool]] = {}
    for verdict in _single(verdicts):
        if verdict.found:
            by_code.setdefault(verdict.root, []).append(verdict.root_is_right)
    return {code: proportion(hits) for code, hits in sorted(by_code.items())}


def precision_of_fault(verdicts: Sequence[Verdict], fault: str) -> Json:
    """Over the runs whose first finding would be accepted for this fault: the share whose own truth accepts it."""
    codes = next((v.accepted[0] for v in verdicts if v.truth == (fault,)), ())
    return proportion(v.root_is_right for v in _single(verdicts) if v.found and v.found[0].is_one_of(codes))


def macro(values: Mapping[str, Json]) -> float | None:
    """Mean over those that have a value."""
    known = [v["value"] for v in values.values() if v["value"] is not None]
    return sum(known) / len(known) if known else None


def summary(verdicts: Sequence[Verdict], seed: int = 0) -> Json:
    """Everything that is told of some runs."""
    single = list(_single(verdicts))
    faulty = [v for v in single if v.kind == "fault"]
    controls = [v for v in single if v.kind == "healthy"]
    pairs = [v for v in verdicts if v.kind == "pair" and v.counts]
    idle = Counter("+".join(v.truth) or "healthy" for v in verdicts if not v.counts)
    by_fault = _by_fault(verdicts)
    recall = recalls(verdicts)
    return {
        "macro_recall": _macro_with_interval(single, lambda some: macro(recalls(some)), len(faulty), seed),
        "macro_precision": _macro_with_interval(single, lambda some: macro(precisions(some)), len(single), seed),
        "root_cause_top1": proportion(v.root_is_right for v in faulty),
        "macro_root_cause_top1": _macro_with_interval(single, _macro_top1, len(faulty), seed),
        "detected": proportion(bool(v.found) for v in faulty),
        "healthy_without_critical": proportion(not any(f.critical for f in v.found) for v in controls),
        "healthy_false_positive_rate": proportion(any(f.critical for f in v.found) for v in controls),
        "healthy_without_finding": proportion(not v.found for v in controls),
        "pairs": {
            "top1": proportion(v.root_is_right for v in pairs),
            "both_named": proportion(all(v.named(name) for name in v.truth) for v in pairs),
            "one_named": proportion(any(v.named(name) for name in v.truth) for v in pairs),
        },
        "faults": {
            name: {
                "runs": len(by_fault[name]),
                "recall": recall[name],
                "precision": (precision := precision_of_fault(single, name)),
                "f1": f1(precision["value"], recall[name]["value"]),
                "top1": proportion(v.root_is_right for v in by_fault[name]),
            }
            for name in sorted(by_fault)
        },
        "codes": precisions(verdicts),
        "roots_on_healthy": dict(Counter(v.root for v in controls).most_common()),
        "failed": sum(v.failed for v in verdicts),
        "not_effective": dict(sorted(idle.items())),
    }


def f1(precision: float | None, recall: float | None) -> float | None:
    """Harmonic mean; None where one is not known, 0 where both are 0."""
    if precision is None or recall is None:
        return None
    return _rounded(2 * precision * recall / (precision + recall)) if precision + recall > 0 else 0.0


def confusion(verdicts: Sequence[Verdict]) -> tuple[list[str], list[str], np.ndarray]:
    """``(truths, roots, counts)``: how often each first finding was given to each fault, and to the controls."""
    single = list(_single(verdicts))
    truths = [*dict.fromkeys(v.truth[0] for v in single if v.truth)]
    if any(v.kind == "healthy" for v in single):
        truths.append("healthy")
    roots = [*sorted({v.root for v in single} - {NOTHING}), NOTHING]
    counts = np.zeros((len(truths), len(roots)), dtype=int)
    for v in single:
        counts[truths.index(v.truth[0] if v.truth else "healthy"), roots.index(v.root)] += 1
    return truths, roots, counts


def _macro_top1(verdicts: Sequence[Verdict]) -> float | None:
    return macro({name: proportion(v.root_is_right for v in some) for name, some in _by_fault(verdicts).items()})


def _macro_with_interval(
    verdicts: Sequence[Verdict], statistic: Callable[[Sequence[Verdict]], float | None], count: int, seed: int
) -> Json:
    """A macro average with a bootstrap interval: runs are drawn anew within every fault, and within the controls."""
    rng = np.random.default_rng(seed)
    strata: dict[tuple[str, ...], list[Verdict]] = {}
    for verdict in verdicts:
        strata.setdefault(verdict.truth, []).append(verdict)
    drawn = []
    for _ in range(RESAMPLES if verdicts else 0):
        some = [stratum[i] for stratum in strata.values() for i in rng.integers(len(stratum), size=len(stratum))]
        value = statistic(some)
        if value is not None:
            drawn.append(value)
    ends = [_rounded(float(q)) for q in np.percentile(drawn, [2.5, 97.5])] if drawn else [0.0, 1.0]
    return {"value": _rounded(statistic(verdicts)), "ci95": ends, "n": count}


def _single(verdicts: Iterable[Verdict]) -> Iterable[Verdict]:
    return (v for v in verdicts if v.kind != "pair" and v.counts)


def _by_fault(verdicts: Iterable[Verdict]) -> dict[str, list[Verdict]]:
    found: dict[str, list[Verdict]] = {}
    for verdict in _single(verdicts):
        if verdict.kind == "fault":
            found.setdefault(verdict.truth[0], []).append(verdict)
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
