"""Action ignored: the energy is the same whatever the action.

## What it checks
How much E changes with other samples' actions in the same context, in units of its standard deviation over swap pairs.

## Why it is bad
An energy of the context alone ranks nothing and has no gradient in the action.

## Example
The sample `healthy` with zeros in the place of every action: other contexts still change E by .93 of its spread, other
actions by 0, and AUROC is .5.

## What to do
Look for an action branch that is detached, zeroed, or made of dead units; draw the weights anew (`fresh-weights`) and
train against other actions (`mixed-negatives`). A LayerNorm over a raw action of one dimension leaves nothing of it,
of two only their order (`remove-action-norm`).

## Known limits
Energies that differ hugely between contexts make every action's share small; where the expert's actions are told from
others all the same, the rule is silent.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import high, low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number

_USE = Threshold(0.01, "guess: another action moves E by less than 1 % of its spread")
_TOLD = Threshold(0.6, "guess: AUROC above which actions do matter, however small their share of E")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    use, auroc = given["conditioning.action_use"], given.get("auroc.swap")
    if high(use) >= _USE.value or (auroc is not None and low(auroc) > _TOLD.value):
        return None
    return Judgement(
        "critical",
        f"Another sample's action changes E by {number(use.value)} of its spread.",
        "The action does not reach the energy.",
    )


RULE = Rule(
    code="ED502",
    name="action-ignored",
    needs=("conditioning.action_use",),
    optional=("auroc.swap",),
    evidence=("conditioning.action_use", "auroc.swap"),
    thresholds={"use": _USE, "told": _TOLD},
    judge=_judge,
    explains=(
        "ED201",
        "ED203",
        "ED303",
        "ED401",
        "ED402",
        "ED403",
        "ED501",
        "ED503",
        "ED701",
        "ED706",
    ),
    fixes=("mixed-negatives", "fresh-weights", "remove-action-norm"),
)
