"""How often each treatment was accepted and how often it did harm: arithmetic on what was told of the runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..score import Json, proportion
from .treatments import FAILED, NOTHING_PLANNED, RANDOM, REFUSED, TREATMENTS

Told = Mapping[str, Any]

_WITHOUT: Told = {"verdict": FAILED, "accepted": False, "recovered": False, "harmed": [], "fixes": [], "draws": 0}
"""Every treatment of a run that could not be treated at all."""


def tally(every: Sequence[Told]) -> Json:
    """What goes under the key ``repair``.

    Raises:
        ValueError: Runs were treated with different numbers of steps.
    """
    steps = sorted({told["steps"] for told in every})
    if len(steps) > 1:
        raise ValueError(f"runs were treated with different numbers of steps: {steps}")
    found: Json = {
        "part": "+".join(sorted({told["part"] for told in every})),
        "runs": len(every),
        "steps": steps[0] if steps else None,
    }
    found |= {name: {**_summary(_of(every, name)), **_details(_of(every, name))} for name in TREATMENTS}
    found[RANDOM]["mean_draws"] = _mean([outcome["draws"] for outcome in _of(every, RANDOM)])
    found["auto_over_random"] = _ratio(found)
    for key in ("fault", "root", "architecture"):
        found[f"by_{key}"] = {
            value: {name: _summary(_of([t for t in every if t[key] == value], name)) for name in TREATMENTS}
            for value in sorted({told[key] for told in every})
        }
    return found


def _of(every: Iterable[Told], treatment: str) -> list[Told]:
    return [told["treatments"][treatment] if "treatments" in told else _WITHOUT for told in every]


def _summary(outcomes: Sequence[Told]) -> Json:
    return {
        "accepted": proportion(bool(o["accepted"]) for o in outcomes),
        "harmed": proportion(bool(o["harmed"]) for o in outcomes),
        "recovered": proportion(bool(o["recovered"]) for o in outcomes),
    }


def _details(outcomes: Sequence[Told]) -> Json:
    verdicts = Counter(o["verdict"] for o in outcomes)
    by_fix = {
        name: [o for o in outcomes if name in o["fixes"]] for name in sorted({n for o in outcomes for n in o["fixes"]})
    }
    return {
        "nothing_planned": proportion(o["verdict"] == NOTHING_PLANNED for o in outcomes),
        "refused": proportion(o["verdict"] == REFUSED for o in outcomes),
        "failed": verdicts[FAILED],
        "diverged": verdicts["diverged"],
        "by_fix": {
            name: {
                "runs": len(some),
                "accepted": sum(bool(o["accepted"]) for o in some),
                "harmed": sum(bool(o["harmed"]) for o in some),
            }
            for name, some in by_fix.items()
        },
    }


def _ratio(found: Json) -> float | None:
    auto, drawn = (found[name]["accepted"]["value"] for name in ("auto", "random"))
    return round(auto / drawn, 4) if auto is not None and drawn else None


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None
