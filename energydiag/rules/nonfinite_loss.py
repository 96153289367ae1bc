"""Non-finite loss: the log holds NaN or infinity.

## What it checks
Whether the loss, InfoNCE or the gradient norm is NaN or infinite at any logged step, and whether the loss ever came
back.

## Why it is bad
After one update with a NaN gradient every weight is NaN; what is saved from then on is worthless. Even where steps are
skipped, something overflows.

## Example
Arithmetic: half precision ends at 65504. Energies of 400 at τ = .005 are logits of 80000: infinity, and the difference
of two infinities is NaN.

## What to do
Go back to a checkpoint not later than the last good step. Lower the learning rate (`lower-learning-rate`), clip
(`clip-gradients`), and compute the loss in float32.

## Known limits
Only logged steps are seen; the first bad step may lie between two of them. A logger that writes NaN for "not measured"
looks the same. Loss scaling in half precision skips its first steps with infinite gradients, which is harmless and
told as a warning here.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    count, at_end, good = (given.get(f"run.{name}") for name in ("nonfinite", "nonfinite.at_end", "last_finite_step"))
    assert count is not None
    assert at_end is not None
    if count.value == 0:
        return None
    since = "from the first logged step on" if good is None else f"after step {good.value:.0f}, the last good one"
    if at_end.value > 0:
        return Judgement(
            "critical",
            f"NaN or infinity at {count.value:.0f} of {count.n} logged steps, {since}; the log ends with it.",
            "A number overflowed, and the weights went with it.",
        )
    return Judgement(
        "warning",
        f"NaN or infinity at {count.value:.0f} of {count.n} logged steps, first {since}; the loss came back.",
        "A number overflowed; the step was skipped, or the logger writes NaN for what it did not measure.",
    )


RULE = Rule(
    code="ED703",
    name="nonfinite-loss",
    needs=("run.nonfinite", "run.nonfinite.at_end"),
    optional=("run.last_finite_step",),
    evidence=("run.nonfinite", "run.last_finite_step"),
    thresholds={},
    judge=_judge,
    fixes=("lower-learning-rate", "clip-gradients"),
)
