"""Inverted mask: model and dump do not agree which context tokens are hidden.

## What it checks
The expert's actions are told from others clearly better with the mask inverted. Where that ranks them well, or where
the hidden tokens have nearly all of the context's effect on E and the visible ones none, a smaller gain is enough, but
not none.

## Why it is bad
The energy reads the padding and skips the context. It looks like a model that has learned nothing.

## Example
The sample `healthy` with its mask inverted on the way in: the visible tokens have no effect, AUROC is .57, and with the
mask inverted again .39 better.

## What to do
Dump a mask with True for visible tokens as `attention_mask`. If the dump is right, invert the mask where the model
takes it (`turn-mask`), and train again where it was inverted in training too.

## Known limits
Needs samples that have hidden tokens. Where inverting the mask gains nothing the model may have been trained to read
padding, or may read one hidden token, as a score at a fixed position does: that is a leak of padding (ED504).
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number, percent

TURNED = Threshold(0.95, "guess: next to nothing of the context's effect comes from the visible tokens")
_SURE = Threshold(0.005, "the smallest change of AUROC that matters, for the lower end of the gain's interval")
_GAIN = Threshold(0.05, "guess: AUROC, a tenth of the way from chance to perfect")
_RESTORED = Threshold(0.85, "heuristic: AUROC with the mask inverted, inside the healthy range")
_RANKS = Threshold(0.8, "the design's healthy range for AUROC")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    share, auroc = given.get("conditioning.inverted_mask"), given.get("auroc.swap")
    gain = given["conditioning.turned_mask.auroc_gain"]
    turned = share is not None and low(share) > TURNED.value
    inverted = None if auroc is None else 0.5 + abs(auroc.value - 0.5) + gain.value
    restored = inverted is not None and inverted > _RESTORED.value
    if low(gain) <= (_SURE if turned or restored else _GAIN).value or gain.value <= _SURE.value:
        return None
    said = [
        f"With the mask inverted AUROC is {number(gain.value)} farther from chance",
        f"{percent(given['data.padding_fraction'].value)} of the context tokens are hidden",
    ]
    if turned and share is not None:
        said.append(f"these have {percent(share.value)} of the context's effect on E")
    harmless = auroc is not None and low(auroc) > _RANKS.value
    return Judgement(
        "warning" if harmless else "critical",
        f"{said[0]}; {' and '.join(said[1:])}.",
        "In the model or in the dump, True means the opposite of what the other takes it for.",
    )


RULE = Rule(
    code="ED505",
    name="inverted-mask",
    needs=("data.padding_fraction", "conditioning.turned_mask.auroc_gain"),
    optional=("conditioning.inverted_mask", "auroc.swap"),
    evidence=(
        "conditioning.turned_mask.auroc_gain",
        "conditioning.inverted_mask",
        "data.padding_fraction",
        "auroc.swap",
    ),
    thresholds={"turned": TURNED, "sure": _SURE, "gain": _GAIN, "restored": _RESTORED, "ranks": _RANKS},
    judge=_judge,
    fixes=("turn-mask",),
    explains=("ED201", "ED203", "ED207", "ED303", "ED402", "ED501", "ED504", "ED508", "ED602"),
)
