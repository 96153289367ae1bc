"""Inverted mask: model and dump do not agree which context tokens are hidden.

## What it checks
Either the hidden tokens have nearly all of the context's effect on E and the visible ones none; or the expert's actions
are told from others clearly better with the mask turned round.

## Why it is bad
The energy reads the padding and skips the context. It looks like a model that has learned nothing.

## Example
The sample `healthy` with its mask turned round on the way in: the visible tokens have no effect, AUROC is .57, and with
the mask turned back .39 better.

## What to do
Dump a mask with True for visible tokens as `attention_mask`. If the dump is right, turn the mask round where the model
takes it (`turn-mask`), and train again where it was turned in training too.

## Known limits
Needs samples that have hidden tokens. A model that was trained with its mask upside down reads padding by habit: turned
round, it may be no better.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, percent

TURNED = Threshold(0.95, "guess: next to nothing of the context's effect comes from the visible tokens")
_GAIN = Threshold(0.05, "guess: AUROC, a tenth of the way from chance to perfect")
_RANKS = Threshold(0.8, "the design's healthy range for AUROC")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    share, gain, auroc = (
        given.get(name) for name in ("conditioning.inverted_mask", "conditioning.turned_mask.auroc_gain", "auroc.swap")
    )
    turned = share is not None and low(share) > TURNED.value
    better = gain is not None and low(gain) > _GAIN.value
    if not turned and not better:
        return None
    said = []
    if turned and share is not None:
        said.append(f"Hidden tokens have {percent(share.value)} of the context's effect on E")
    if better and gain is not None:
        said.append(f"With the mask turned round AUROC is {number(gain.value)} farther from chance")
    harmless = not better and auroc is not None and low(auroc) > _RANKS.value
    return Judgement(
        "warning" if harmless else "critical",
        f"{'. '.join(said)}.",
        "In the model or in the dump, True means the opposite of what the other takes it for.",
    )


RULE = Rule(
    code="ED505",
    name="inverted-mask",
    needs=("data.padding_fraction",),
    optional=("conditioning.inverted_mask", "conditioning.turned_mask.auroc_gain", "auroc.swap"),
    evidence=("conditioning.inverted_mask", "conditioning.turned_mask.auroc_gain", "auroc.swap"),
    thresholds={"turned": TURNED, "gain": _GAIN, "ranks": _RANKS},
    judge=_judge,
    fixes=("turn-mask",),
    explains=("ED201", "ED203", "ED207", "ED402", "ED404", "ED501", "ED504", "ED602"),
)
