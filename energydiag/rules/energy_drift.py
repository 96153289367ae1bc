"""Energy drift: all energies have wandered off together, far from zero.

## What it checks
The mean of E over all swap pairs against the standard deviation of E over the same pairs. Heads with a range are not
asked: they cannot drift.

## Why it is bad
InfoNCE sees differences of energies, so nothing holds their mean. A threshold on E then means nothing from one
checkpoint to the next, and low precision loses what is left: bfloat16 rounds a number by up to 1/256 of it.

## Example
The sample `healthy` with 1000 added to every energy: mean 1002, standard deviation 4.92. In bfloat16 numbers near
1000 are 4 apart, nearly the whole spread.

## What to do
Hold the energies with a weak L2 term (`energy-anchor`); or subtract each context's mean before E is used.

## Known limits
Ranking and correction do not feel a common offset in float32: alone, this finding asks for nothing urgent.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import at_least
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number

_SPREADS = Threshold(20.0, "guess: rounding in bfloat16, 1/256 of the value, then costs 8 % of the spread")
_ROUNDING = Threshold(
    1e6, "float32 rounds by 6e-8 of the value: a spread that small is rounding, and the energy constant"
)


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    mean, spread = given["head.energy_mean"], given["head.energy_std"].value
    bounded = "head.energy_range" in given
    if bounded or at_least(mean) <= _SPREADS.value * spread or abs(mean.value) >= _ROUNDING.value * spread:
        return None
    return Judgement(
        "warning",
        f"Energies lie around {number(mean.value)} and differ by {number(spread)} (standard deviation): they have "
        f"drifted {number(abs(mean.value) / spread)} times as far as they differ.",
        "The loss sees differences of energies only, and nothing else held them.",
    )


RULE = Rule(
    code="ED107",
    name="energy-drift",
    needs=("head.energy_mean", "head.energy_std"),
    optional=("head.energy_range",),
    evidence=("head.energy_mean", "head.energy_std"),
    thresholds={"spreads": _SPREADS, "rounding": _ROUNDING},
    judge=_judge,
    explains=("ED508",),
    fixes=("energy-anchor",),
)
