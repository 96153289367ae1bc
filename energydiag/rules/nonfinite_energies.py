"""Non-finite energies: the model answers with NaN or infinity.

## What it checks
How many samples have to be left out for all energies over swap pairs to be finite, on samples whose inputs are finite;
and in how many of the others a candidate beside the expert's action (noisy, shifted, scaled, the policy's) has such an
energy.

## Why it is bad
One such pair makes the whole loss NaN, and the step after it every weight. Beside the expert's action is where a
correction walks, and where candidates lie that are to be ranked.

## Example
Weights saved after the run had diverged: every energy is NaN. A half-precision overflow inside the model: the energies
of the dump are finite, those of larger actions are not.

## What to do
Where nearly all energies are so, go back to the last checkpoint whose energies are finite; clip gradients
(`clip-gradients`) and lower the learning rate (`lower-learning-rate`) before training on. Where a few are, look at
these samples, and for a division, a logarithm, a square root or a half-precision sum on their way.

## Known limits
The other findings are about the samples that are left. Where that is less than half, nothing else is measured, and
every other probe says that it was skipped. An energy that is infinite on purpose, outside of what is allowed, is
reported as a warning too.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import percent

_MOST = Threshold(0.5, "by definition: the larger part of the energies is not finite")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    share, samples, nearby = (given.get(f"head.nonfinite_{name}") for name in ("fraction", "samples", "nearby"))
    if share is not None and share.value > 0:
        where = f" in {samples.value:.0f} of {samples.n} samples" if samples is not None else ""
        return Judgement(
            "critical",
            f"{percent(share.value)} of the energies are NaN or infinite{where}.",
            _why(share, given.get("weights.nonfinite")),
            () if share.value > _MOST.value else None,
        )
    if nearby is not None and nearby.value > 0:
        return Judgement(
            "warning",
            f"Beside the expert's action energies are NaN or infinite in {percent(nearby.value)} of the samples, "
            "although those of the dump's own actions are finite.",
            "A value inside the model overflows for actions that are a little larger or noisier, or the energy is "
            "infinite there on purpose.",
        )
    return None


def _why(share: Measurement, weights: Measurement | None) -> str:
    """What stands behind it, as far as the checkpoint shows."""
    if weights is not None and weights.value > 0:
        return (
            f"{percent(weights.value)} of the weights are NaN or infinite: the checkpoint was saved after an update "
            "with such a gradient. Its log shows whether something grew before that step (ED703); go back to a "
            "checkpoint from before it."
        )
    if share.value > _MOST.value:
        return "The weights are finite: something inside the model overflows, or is not defined, for nearly all inputs."
    return "These inputs make a value inside the model overflow, or one that is not defined."


RULE = Rule(
    code="ED104",
    name="nonfinite-energies",
    needs=("head.nonfinite_fraction",),
    optional=("head.nonfinite_samples", "head.nonfinite_nearby", "weights.nonfinite"),
    evidence=("head.nonfinite_fraction", "head.nonfinite_samples", "head.nonfinite_nearby", "weights.nonfinite"),
    thresholds={"most": _MOST},
    judge=_judge,
    explains=("ED302", "ED309"),
    fixes=("clip-gradients", "lower-learning-rate"),
)
