"""Gap inverted or shrinking: experts' actions end above the others in energy, or the distance melts.

## What it checks
The mean of E₋ − E₊ over the end of the log: the whole 95 % interval below 0 is inverted (and AUROC below .5, where it
was logged). And how far the gap moved over the second half, relative to itself.

## Why it is bad
Descending an inverted energy goes away from the expert. The loss cannot tell: with the sign error inside it, it falls
as if all were well. A shrinking gap undoes what was learned.

## Example
`sample_checkpoints/runs/inverted`: the loss falls from 4.16 to 1.09 while the gap goes to −10.1 and AUROC to .014.

## What to do
Inverted: look for logits +E/τ where −E/τ is meant; `negate-sign` turns a finished checkpoint round, once its
inspection finds the same. Shrinking: look at the learning rate and at what changed in the negatives.

## Known limits
Where the log holds scores (high = good), an inverted gap is right; swap the two names with --map. Where only a gap was
logged, its sign is taken as negative minus positive. Harder negatives shrink the gap while the model gets better.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import high
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, with_interval

_SHRUNK = Threshold(-0.2, "guess: a fifth of the gap lost over the second half")
_CHANCE = Threshold(0.5, "AUROC of a model that cannot tell")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    gap, auroc, trend = given["run.gap.last"], given.get("run.auroc.last"), given.get("run.gap.trend")
    if high(gap) < 0:
        if auroc is not None and high(auroc) >= _CHANCE.value:
            return None
        return Judgement(
            "critical",
            f"At the end, experts' actions lie above the others: E₋ − E₊ is {with_interval(gap)}"
            + ("." if auroc is None else f", AUROC {number(auroc.value)}."),
            "The sign of the energy is turned round in the loss, or the log holds scores.",
        )
    if trend is not None and gap.value > 0 and high(trend) < _SHRUNK.value:
        return Judgement(
            "warning",
            f"Over the second half the gap moved by {with_interval(trend)} of itself.",
            "Training takes back what it had learned, or meets harder negatives than before.",
        )
    return None


RULE = Rule(
    code="ED706",
    name="gap-inverted-or-shrinking",
    needs=("run.gap.last",),
    optional=("run.gap.trend", "run.auroc.last"),
    evidence=("run.gap.last", "run.gap.trend", "run.auroc.last"),
    thresholds={"shrunk": _SHRUNK, "chance": _CHANCE},
    judge=_judge,
    symptom=True,
)
