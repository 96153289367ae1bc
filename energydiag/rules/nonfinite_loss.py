"""Non-finite loss: the log holds NaN or infinity.

## What it checks
Whether the loss, InfoNCE or the gradient norm is NaN or infinite at any logged step, and whether the loss ever came
back.

## Why it is bad
After one update with a NaN gradient every weight is NaN; what is saved from then on is worthless. Even where steps are
skipped, something overflows.

## Example
Arithmetic: half precision ends at 65504. Energies of 400 at τ = .005 are logits of 80000: infinity, and the difference
of two infinities is NaN. An anchor without a positive is a mean over nothing: 0/0, at losses and norms as usual.

## What to do
Go back to a checkpoint not later than the last good step. Where loss or gradient norm grew before it, lower the
learning rate (`lower-learning-rate`), clip (`clip-gradients`), and compute the loss in float32. Where they did not,
look at that batch, and at divisions, logarithms and masks in the loss.

A trainer may leave NaN out of the loss that it logs: Hugging Face's writes the mean of the rest, 0.0 where nothing is
left, beside a gradient norm of NaN. Such a loss is none.

## Known limits
Only logged steps are seen; the first bad step may lie between two of them. A logger that writes NaN for "not measured"
looks the same. Loss scaling in half precision skips its first steps with infinite gradients, which is harmless and
told as a warning here.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number

_GREW = Threshold(3.0, "heuristic: three times the usual just before it")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    count, at_end = given["run.nonfinite"], given["run.nonfinite.at_end"]
    if count.value == 0:
        return None
    good, masked = given.get("run.last_finite_step"), given.get("run.nonfinite.masked")
    since = "from the first logged step on" if good is None else f"after step {good.value:.10g}, the last good one"
    hidden = (
        f" The loss is a number at {masked.value:.0f} steps whose gradient norm is NaN: the trainer leaves NaN out of "
        "it, and 0.0 is no loss."
        if masked is not None
        else ""
    )
    grew, why = _before(given)
    fixes = None if grew else ()
    if at_end.value > 0:
        return Judgement(
            "critical",
            f"NaN or infinity at {count.value:.0f} of {count.n} logged steps, {since}; the log ends with it.{hidden}",
            f"{why} After an update with a NaN gradient the weights are NaN.",
            fixes,
        )
    return Judgement(
        "warning",
        f"NaN or infinity at {count.value:.0f} of {count.n} logged steps, first {since}; the loss came back.{hidden}",
        f"{why} The step was skipped, or the logger writes NaN for what it did not measure.",
        fixes,
    )


def _before(given: Mapping[str, Measurement]) -> tuple[bool, str]:
    """Whether something grew before the first value that is not finite, and what that says."""
    growth = {
        "loss": given.get("run.nonfinite.loss_growth"),
        "gradient norm": given.get("run.nonfinite.norm_growth"),
    }
    known = {what: m.value for what, m in growth.items() if m is not None}
    grew = [f"the {what} was {number(value)} times its usual" for what, value in known.items() if value > _GREW.value]
    if grew:
        return True, f"Just before it, {' and '.join(grew)}: something overflowed."
    if known:
        usual = " and ".join(known)
        return False, (
            f"Nothing grew before it ({usual} as usual), so it is no divergence: look at that batch, and at divisions, "
            "logarithms and masks in the loss (0/0 where an anchor has no positive, log 0)."
        )
    return False, "Too little was logged before it to say whether something grew."


RULE = Rule(
    code="ED703",
    name="nonfinite-loss",
    needs=("run.nonfinite", "run.nonfinite.at_end"),
    optional=(
        *("run.last_finite_step", "run.nonfinite.masked"),
        *("run.nonfinite.loss_growth", "run.nonfinite.norm_growth"),
    ),
    evidence=(
        *("run.nonfinite", "run.last_finite_step", "run.nonfinite.masked"),
        *("run.nonfinite.loss_growth", "run.nonfinite.norm_growth"),
    ),
    thresholds={"grew": _GREW},
    judge=_judge,
    fixes=("lower-learning-rate", "clip-gradients"),
)
