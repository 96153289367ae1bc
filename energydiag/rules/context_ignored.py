"""Context ignored: which action is best does not depend on the situation.

## What it checks
How much E changes with other contexts under the same action, and how much is left of a table of contexts and actions
when the means of its rows and columns are taken away; both in units of the standard deviation of E over swap pairs.
The rule speaks where either is next to nothing and the expert's actions are not told from others.

## Why it is bad
An energy f(h) + g(a) prefers the same action everywhere, whatever f is; AUROC over swap pairs is then .5 exactly.
Following it leads to the same place in every situation.

## Example
The sample `healthy`, given the first sample's context in the place of every other: context use and interaction 0,
action use .77. As E(h₁, a) + E(h, a₁), with the context in the second term: context use .42, interaction 5e-8. AUROC
is .5 both times.

## What to do
Look whether the context reaches the head at all: a detached or zeroed input, a mask turned round, one context repeated
through the batch. Then train against other contexts' actions (`mixed-negatives`).

## Known limits
A context whose effect is small beside that of the action can be all that is needed: the limits are low for that reason.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import high, low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number

_USE = Threshold(0.01, "guess: another context moves E by less than 1 % of its spread")
_INTERACTION = Threshold(0.05, "guess: contexts change the order of actions by less than 5 % of the spread")
_TOLD = Threshold(0.6, "guess: AUROC above which contexts do matter, however small their share of E")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    use, interaction, auroc = (
        given["conditioning.context_use"],
        given["conditioning.interaction"],
        given.get("auroc.swap"),
    )
    ignored = high(use) < _USE.value
    if not ignored and high(interaction) >= _INTERACTION.value:
        return None
    if auroc is not None and low(auroc) > _TOLD.value:
        return None
    return Judgement(
        "critical",
        f"Another context changes E by {number(use.value)} of its spread."
        if ignored
        else f"What E says of an action hardly depends on the context: {number(interaction.value)} of its spread is "
        "more than a sum of both.",
        "The context does not reach the energy, or training never asked for it.",
    )


RULE = Rule(
    code="ED501",
    name="context-ignored",
    needs=("conditioning.context_use", "conditioning.interaction"),
    optional=("auroc.swap",),
    evidence=("conditioning.context_use", "conditioning.interaction", "auroc.swap"),
    thresholds={"use": _USE, "interaction": _INTERACTION, "told": _TOLD},
    judge=_judge,
    explains=(
        "ED201",
        "ED203",
        "ED207",
        "ED402",
        "ED701",
    ),
    fixes=("mixed-negatives",),
)
