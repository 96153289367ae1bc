"""Runaway energies: they grow without an end, and the training diverged.

## What it checks
How large the logged energies (or scores, rewards) end beside how they began, and whether they still grow. Where only a
loss was logged that may be below 0, as in contrastive divergence, its size stands for them.

## Why it is bad
In contrastive divergence the gradient is ±1 always: nothing stops the growth but a penalty on the energies, the norm of
the weights, or clipping. The falling loss looks like success. Samples are those of a random network, and soon a number
overflows.

## Example
Arithmetic: a penalty of α(E₊² + E₋²) balances a gap of 1 at |E| of about 1/(4α): 2.5 at α = .1. Without it, energies of
.07 at the start were 10⁷ after 900 steps.

## What to do
Add a penalty on the energies (`energy-anchor`), clip gradients (`clip-gradients`), normalize the layers' weights
spectrally, lower the learning rate (`lower-learning-rate`), or run the sampler for more steps.

## Known limits
Rewards and logits that begin near 0 grow by a factor of a thousand in healthy runs; hence four digits, and still
growing.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number

_RUNAWAY = Threshold(1e4, "heuristic: four digits; rewards that start near 0 grow by three in healthy runs")
_STILL = Threshold(1.2, "heuristic: a fifth more at the end than in the middle")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    size, growth = given["run.energy_size.growth"], given["run.energy_size.late_growth"]
    if size.value <= _RUNAWAY.value or growth.value <= _STILL.value:
        return None
    return Judgement(
        "critical",
        f"Energies end {number(size.value)} times as large as they began, and still grow: they run away.",
        "Nothing holds the energies: neither a penalty on them, nor the norm of the weights, nor clipping. The "
        "training diverged.",
    )


RULE = Rule(
    code="ED725",
    name="runaway-energies",
    needs=("run.energy_size.growth", "run.energy_size.late_growth"),
    evidence=("run.energy_size.growth", "run.energy_size.late_growth"),
    thresholds={"runaway": _RUNAWAY, "still growing": _STILL},
    judge=_judge,
    explains=("ED107", "ED108", "ED302", "ED308", "ED705", "ED707", "ED715"),
    fixes=("energy-anchor", "clip-gradients", "lower-learning-rate"),
)
